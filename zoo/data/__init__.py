"""Sources of inputs and targets, and the batches that a network sees.

    sources.py          `load_source`; options.py has its options, finding.py finds the path that a name means,
                        like.py reads data as a record says
      named.py          the sources with a name; embedded.py makes those that need no download
      arrays.py         a source from arrays, such as an .npz
      datasets.py       a source from data in memory: arrays, and data sets of Keras, TensorFlow and torch
      tables.py         a source from a table: kinds.py chooses columns, targets.py the task
      image_files.py    a source from images in class folders: export.archives reads files, layout.py finds classes and
                        parts, cifar.py reads CIFAR's own files
      image_tables.py   a source from a table of image files
      masks.py          a source from images with masks
      decoding.py       decodes images in threads; cache.py keeps the pixels
      streaming/        a source of photos that stay encoded on disk until they are needed
      tfds.py           a source of TensorFlow Datasets
    source.py           `Source` and `Preprocessing`; rows.py has what of it may be on disk
    batches.py          `Batches`, which Keras takes
      making.py         makes any slice of any batch, without Keras; the random changes to images are in augmentation/
      workers/          processes that make the batches of photos ahead
      crops.py          the centre and the ten crops of larger images, for evaluation

`__init__.pyi` lists the names. They load on first use: the sources and the settings of the augmentation do not need
Keras, the batches do.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
