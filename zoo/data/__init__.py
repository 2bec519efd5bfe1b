"""Labelled images: where they come from, and how they reach a network.

`__init__.pyi` lists the names. They load on first use: the sources and the settings of the augmentation do not need
Keras, the batches do.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
