"""Fourier transforms in ONNX, against NumPy in double precision."""

from itertools import product
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import export
from tests.export.models import Function
from tests.export.test_operations import answers
from tests.sweep import sweep

pytestmark = pytest.mark.usefixtures("in_this_process")


def fourier_transforms(x: Any, imaginary: Any) -> list[Any]:
    """Transforms along the last axes, by Keras and TensorFlow."""
    pairs = [f((x, imaginary)) for f in (ops.fft, ops.fft2, ops.ifft2)]
    pairs += [ops.rfft(x, fft_length=n) for n in (None, 6, 11)]
    numbers = tf.complex(x, imaginary)
    others = [tf.math.real(tf.signal.ifft(numbers)), tf.abs(tf.signal.fft2d(numbers))]
    return [part for pair in pairs for part in pair] + others


def expected_transforms(z: np.ndarray) -> list[np.ndarray]:
    """The same by NumPy in double precision."""
    found = [np.fft.fft(z), np.fft.fft2(z), np.fft.ifft2(z), *(np.fft.rfft(z.real, n) for n in (8, 6, 11))]
    parts = [part for numbers in found for part in (numbers.real, numbers.imag)]
    return [*parts, np.fft.ifft(z).real, np.abs(np.fft.fft2(z))]


def assert_close(functions: Any, x: np.ndarray, expected: list[np.ndarray], path: Any, **options: Any) -> None:
    """Compares the outputs of a function with expected values, each on its own scale."""
    given = keras.Input(options.pop("shape", x.shape[1:]), name="x")
    outputs = Function(functions)(given)
    model = keras.Model({"x": given}, {f"y{i}": y for i, y in enumerate(outputs)})
    for name, received, _ in answers(model, {"x": x}, path, **options):
        y = expected[int(name[1:])]
        assert received.shape == y.shape, name
        np.testing.assert_allclose(received, y, rtol=0, atol=1e-6 * np.max(np.abs(y)), err_msg=name)


STATIC, DYNAMIC = (5, 8), (None, None)
WAYS = list(product((STATIC, DYNAMIC), ((0, 17), (2, 13), (2, 18))))


@pytest.mark.parametrize(
    "way", sweep(WAYS, lambda way: way in ((STATIC, (0, 17)), (STATIC, (2, 13)), (DYNAMIC, (2, 18)))), ids=str
)
def test_fourier_transforms(way, tmp_path):
    shape, (times, opset) = way

    def transforms(x):
        return fourier_transforms(x, times * x if times else ops.zeros_like(x))

    x = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    expected = expected_transforms(x * np.complex128(1 + 1j * times))
    assert_close(transforms, x, expected, tmp_path, opset=opset, shape=shape)


def test_spectra_and_their_inverses(tmp_path):
    def spectra(x):
        inverses = [ops.irfft((x, -2 * x), fft_length=n) for n in (None, 7, 20)]
        short = ops.stft(x, 8, 4, 16, center=False)
        return [*inverses, *short, ops.istft(ops.stft(x, 8, 4, 16), 8, 4, 16, length=60)]

    x = np.random.default_rng(0).normal(size=(2, 60)).astype("float32")
    wide = x.astype("float64")
    # A window of 8 in the middle of every 16 numbers.
    window = np.pad(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(8) / 8), 4)
    frames = np.stack([wide[:, i : i + 16] * window for i in range(0, 45, 4)], axis=1)
    expected = [np.fft.irfft(wide * (1 - 2j), n) for n in (118, 7, 20)]
    expected += [np.fft.rfft(frames).real, np.fft.rfft(frames).imag, wide]
    assert_close(spectra, x, expected, tmp_path)


def test_long_transforms_are_not_stored_and_longer_ones_refused(tmp_path):
    x = np.random.default_rng(0).normal(size=(1, 1000)).astype("float32")
    z = np.fft.rfft(x.astype("float64"))
    assert_close(ops.rfft, x, [z.real, z.imag], tmp_path)
    assert (tmp_path / "model.onnx").stat().st_size < 50_000
    given = keras.Input((5000,))
    model = keras.Model(given, Function(lambda x: ops.rfft(x, fft_length=5000)[0])(given))
    with pytest.raises(export.ExportError, match="Received: RFFT"):
        export.to_onnx(model, tmp_path / "long.onnx")
