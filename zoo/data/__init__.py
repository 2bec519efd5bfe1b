"""Sources of inputs and targets, and the batches that a network sees.

    sources.py        `load_source`, with the sources by name and the readers of array files by suffix
      arrays.py       a source from arrays, such as an .npz
      tfds.py         a source of TensorFlow Datasets
      image_files.py  a source from files of images: archives.py reads them, images.py decodes them, cache.py keeps the
                      pixels, layout.py finds classes and parts, cifar.py reads CIFAR's own files
      datasets.py     a source from data in memory: arrays, and data sets of Keras, TensorFlow and torch
    source.py         `Source` and `Preprocessing`; rows.py has what of it may be on disk
    batches.py        `Batches`; the random changes to images are in augmentation/

`__init__.pyi` lists the names. They load on first use: the sources and the settings of the augmentation do not need
Keras, the batches do.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
