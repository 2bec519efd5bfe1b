"""Networks that skip connections made famous, and their training.

    networks/   the families of the papers, and their figures
    data/       sources of labelled images, and the batches that reach a network
    weights/    trained weights: shipped, published by others, read from a file
    training/   a recipe becomes a run
    devices/    the CPU, GPUs and hosts that train
    analysis/   what happens inside a network
    reports/    pages and tables about runs and networks
    cli/        the command `keras-skip`

`__init__.pyi` lists the public names. They load on first use, so `import zoo` costs nothing and the command line
answers before Keras is loaded.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
