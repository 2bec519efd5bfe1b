"""Picks and resizes images."""

import numpy as np


def pick(examples, count):
    """Returns examples at equal distances, since their order may be that of their classes."""
    return np.asarray(examples[np.linspace(0, len(examples) - 1, count).astype(int)])


def resize(images, shape):
    """Resizes images; every pixel of the result is a pixel of the image."""
    rows, columns = (np.arange(n) * images.shape[axis] // n for axis, n in ((1, shape[0]), (2, shape[1])))
    images = images[:, rows][:, :, columns]
    return images if images.shape[-1] == shape[-1] else np.repeat(images[..., :1], shape[-1], axis=-1)
