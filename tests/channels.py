"""Whether Keras's backend convolves here with the channels first: on a CPU, TensorFlow does so with oneDNN alone."""

from functools import cache

import keras
import numpy as np
import pytest


@cache
def convolves_channels_first() -> bool:
    layer = keras.layers.Conv2D(1, 1, data_format="channels_first")
    try:
        layer(np.zeros((1, 1, 2, 2), "float32"))
    except Exception as error:
        if "only supports the NHWC tensor format" not in str(error):
            raise
        return False
    return True


def skip_without_channels_first() -> None:
    """Skips the test where it could not compute anything."""
    if not convolves_channels_first():
        pytest.skip("TensorFlow has no oneDNN on this processor, and without it no convolution with the channels first")
