"""What ONNX makes of values that few data sets hold: negative integers, tiny numbers, NaN, infinities, gaps."""

from itertools import product
from typing import Any

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from keras import layers, ops

import export
from export.convert.operations import KINDS, REWRITES
from tests.export.models import Function

INF, NAN = np.inf, np.nan
OPSETS = (13, 17, 18)


def answers(model: keras.Model, batch: dict[str, np.ndarray], path: Any, **options: Any) -> list[tuple[str, Any, Any]]:
    """Of each output its name, what onnxruntime gives and what Keras gives."""
    file = export.to_onnx(model, path / "model.onnx", overwrite=True, samples=batch, **options)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    received = dict(zip(names, session.run(names, batch), strict=True))
    return [(name, received[name], np.asarray(y)) for name, y in model(batch, training=False).items()]


def assert_equal(functions: dict[str, Any], x: np.ndarray, path: Any, opset: int = 17) -> None:
    """Compares functions of one input, each value relative to itself; integers, NaN and infinities exactly."""
    given = keras.Input(x.shape[1:], dtype=x.dtype.name, name="x")
    kind = x.dtype.name if x.dtype.kind == "f" else "float32"
    outputs = {f"y{i}": Function(f, dtype=kind)(given) for i, f in enumerate(functions.values())}
    for name, received, expected in answers(keras.Model({"x": given}, outputs), {"x": x}, path, opset=opset):
        about = list(functions)[int(name[1:])]
        assert (received.shape, received.dtype) == (expected.shape, expected.dtype), about
        rtol = {"float32": 1e-5, "float64": 1e-12}.get(expected.dtype.name, 0)
        # TensorFlow takes for 0 what is nearer to it.
        tiny = np.finfo(expected.dtype).tiny if rtol else 0
        np.testing.assert_allclose(received, expected, rtol=rtol, atol=tiny, err_msg=about)


WHOLE = np.array([[-4, 4, -5, -7, 1], [-9, 9, 3, -3, 2], [0, -1, 1, 2, 4], [5, 2**24 + 1, 1 - 2**31, 2**31 - 1, -6]])


def test_every_operation_is_in_the_table_of_one_kind():
    assert sum(len(kind.REWRITES) for kind in KINDS) == len(REWRITES) > 30


@pytest.mark.parametrize(("dtype", "opset"), [*product(("int32", "int64"), OPSETS), ("int16", 17)])
def test_integers(dtype, opset, tmp_path):
    x = WHOLE.astype(dtype) if dtype != "int16" else np.clip(WHOLE, -(2**15), 2**15 - 1).astype(dtype)
    exact: dict[str, Any] = {
        "x // 3": lambda x: x // 3,
        "x // -3": lambda x: x // -3,
        "x % 3": lambda x: x % 3,
        "x % -3": lambda x: x % -3,
        "x // y": lambda x: x // (2 * x[:, ::-1] + 1),
        "x % y": lambda x: x % (2 * x[:, ::-1] + 1),
        "floor_divide": lambda x: ops.floor_divide(x, 4),
        "fmod": lambda x: ops.fmod(x, 4),
        "largest": lambda x: ops.top_k(x, 3)[0],
        "places of the largest": lambda x: ops.top_k(x, 3)[1],
        "sort": lambda x: ops.sort(x, axis=-1),
        "take": lambda x: ops.take(ops.arange(5, dtype="float32"), ops.cast(x % 5, "int32")),
        "where": lambda x: ops.where(x > 0, x, -x),
    }
    assert_equal(exact, x, tmp_path, opset)


@pytest.mark.parametrize("opset", OPSETS)
def test_classes_that_are_not_there_have_no_place_in_a_one_hot_vector(opset, tmp_path):
    vectors = {f"one_hot {t}": lambda x, t=t: ops.one_hot(x, 4, dtype=t) for t in ("float32", "int32", "bool", "uint8")}
    vectors |= {f"one_hot, axis {a}": lambda x, a=a: ops.one_hot(x, 4, axis=a) for a in (-1, 0, 1, 2)}
    vectors |= {
        "of a vector": lambda x: ops.one_hot(x[:, 0], 4),
        "of other values": lambda x: tf.one_hot(x, 4, on_value=5.0, off_value=-1.0),
        "of 1 and -1": lambda x: tf.one_hot(x, 4, on_value=1.0, off_value=-1.0),
        "multi_hot": lambda x: ops.multi_hot(x, 4),
        "CategoryEncoding": lambda x: layers.CategoryEncoding(4, output_mode="one_hot")(x[:, 2:3]),
    }
    assert_equal(vectors, WHOLE.astype("int32"), tmp_path, opset)


@pytest.mark.parametrize("mode", ["multi_hot", "count"])
def test_classes_beyond_the_last_are_not_counted(mode, tmp_path):
    assert_equal({mode: layers.CategoryEncoding(4, output_mode=mode)}, np.array([[0, 3, 3], [4, 9, 1]]), tmp_path)


@pytest.mark.parametrize("opset", OPSETS)
def test_integers_are_looked_up(opset, tmp_path):
    x = np.array([[7, -3], [2**40, 0], [5, 6], [1 - 2**40, 2**40 + 1]])
    vocabulary = [2**40, -3, 7, 1 - 2**40]
    indices = [[3, 2], [1, 0], [0, 0], [4, 0]]
    found = {"int": np.array(indices), "masked": np.array(indices) + 1, "two": np.array(indices) + 1}
    found["masked"][1, 1] = 0
    # Unknown ones are told apart by their remainder.
    found["two"][[1, 2, 2, 3], [1, 0, 1, 1]] = [0, 1, 0, 1]
    options = {"int": {}, "masked": {"mask_token": 0}, "two": {"num_oov_indices": 2}}
    make = {name: layers.IntegerLookup(vocabulary=vocabulary, **about) for name, about in options.items()}
    make |= {m: layers.IntegerLookup(vocabulary=vocabulary, output_mode=m) for m in ("multi_hot", "count")}
    found["multi_hot"] = np.max(np.eye(5)[indices], axis=1)
    found["count"] = np.sum(np.eye(5)[indices], axis=1)
    given = keras.Input((2,), dtype="int64", name="x")
    model = keras.Model({"x": given}, {f"of_{name}": layer(given) for name, layer in make.items()})
    for name, received, _ in answers(model, {"x": x}, tmp_path, opset=opset):
        np.testing.assert_array_equal(received, found[name.removeprefix("of_")], err_msg=name)


def of_text() -> keras.Model:
    """Takes words and numbers, as of a table."""
    city, size = keras.Input((2,), dtype="string", name="city"), keras.Input((1,), name="size")
    make = {"plain": {}, "masked": {"mask_token": ""}, "multi_hot": {"output_mode": "multi_hot"}}
    words = ["Köln", "New York", "東京"]
    found = {name: layers.StringLookup(vocabulary=words, **about)(city) for name, about in make.items()}
    vectors = layers.Flatten()(layers.Embedding(4, 3, name="vectors")(found["plain"]))
    return keras.Model([city, size], {**found, "vectors": vectors * size})


@pytest.mark.parametrize("opset", OPSETS)
def test_words_are_looked_up(opset, tmp_path):
    model = of_text()
    batch = {
        "city": np.array([["Köln", "東京"], ["köln", ""], ["New York", "New York"]]),
        "size": np.float32([[1], [2], [3]]),
    }
    plain = np.array([[1, 3], [0, 0], [2, 2]])
    table = model.get_layer("vectors").embeddings.numpy()
    expected = {
        "plain": plain,
        "masked": np.array([[2, 4], [1, 0], [3, 3]]),
        "multi_hot": np.max(np.eye(4)[plain], axis=1),
        "vectors": table[plain].reshape(3, 6) * batch["size"],
    }
    file = export.to_onnx(model, tmp_path / "model.onnx", samples=batch, opset=opset)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for name, values in expected.items():
        np.testing.assert_allclose(session.run([name], batch)[0], values, rtol=1e-6, err_msg=name)


def test_words_need_samples_and_an_artifact_takes_none(tmp_path):
    model, batch = of_text(), {"city": np.array([["Köln", ""]], object), "size": np.float32([[1]])}
    with pytest.raises(ValueError, match="Expected samples= of text. Received: city"):
        export.to_onnx(model, tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="Expected input city of dtype str. Received: dtype int64"):
        export.to_onnx(model, tmp_path / "m.onnx", samples=batch | {"city": np.array([[1, 2]])})
    with pytest.raises(export.ExportError, match="Expected inputs of numbers, .* Received: city of text"):
        export.export(model, tmp_path / "a", samples=batch)
    assert list(tmp_path.iterdir()) == []
    assert export.to_onnx(model, tmp_path / "m.onnx", samples=batch).exists()


def test_text_that_a_model_gives_is_refused(tmp_path):
    x = keras.Input((2,), dtype="int64")
    model = keras.Model(x, layers.StringLookup(vocabulary=["a", "b"], invert=True)(x))
    with pytest.raises(export.ExportError, match="Expected a model whose outputs are numbers. Received: .* is text"):
        export.to_onnx(model, tmp_path / "m.onnx")


@pytest.mark.parametrize("opset", OPSETS)
def test_numbers_near_zero_and_far_from_it(opset, tmp_path):
    near = np.float32([1e-30, 1e-8, 3e-5, 1e-4, 3e-2, 0.5, 0.0])
    x = np.stack(
        [near, -near, np.float32([1, 20, 60, 88, 1e4, INF, NAN]), np.float32([-1, -20, -60, -88, -2, -1e4, -INF])]
    )
    precise = {name: getattr(ops, name) for name in ("expm1", "celu", "elu", "tanh", "arcsinh", "sinh", "erf", "exp")}
    precise |= {
        "log1p": lambda x: ops.log1p(ops.maximum(x, -1)),
        "logaddexp": lambda x: ops.logaddexp(x, x[:, ::-1]),
        "softplus": ops.softplus,
        "log_sigmoid": ops.log_sigmoid,
    }
    assert_equal(precise, x, tmp_path, opset)


def test_small_numbers_in_double_precision(tmp_path):
    x = np.float64([[1e-300, 1e-14, 1e-9], [-1e-300, -1e-14, -1e-9], [1.0, 1 + 1e-9, 0.1]])
    precise = {"log1p": ops.log1p, "expm1": ops.expm1, "largest": lambda x: ops.top_k(x, 2)[0]}
    precise |= {"buckets": lambda x: tf.raw_ops.Bucketize(input=x, boundaries=[0.1, 1.0])}
    assert_equal(precise, x, tmp_path)


@pytest.mark.parametrize("opset", OPSETS)
def test_remainders_of_floats(opset, tmp_path):
    x = np.float32([[7, -7, 1e8, -1e8], [0, 3, -3, 1e20], [5.5, -0.25, INF, NAN]])
    remainders = {
        "x % 3": lambda x: x % 3.0,
        "x % -3": lambda x: x % -3.0,
        "x % infinity": lambda x: x % ops.full_like(x, INF),
        "x // 3": lambda x: x // 3.0,
        "fmod": lambda x: ops.fmod(x, 3.0),
    }
    assert_equal(remainders, x, tmp_path, opset)


@pytest.mark.parametrize("opset", OPSETS)
def test_unknown_and_infinite_values(opset, tmp_path):
    x = np.float32(
        [[NAN, 1, -2, 0], [3, NAN, INF, -1], [-INF, -INF, NAN, -3], [NAN] * 4, [-INF] * 4, [0, -0.0, INF, 2]]
    )
    same: dict[str, Any] = {name: lambda x, n=name: getattr(ops, n)(x, axis=-1) for name in ("max", "min")}
    same |= {name: lambda x, n=name: getattr(ops, n)(x, axis=-1) for name in ("argmax", "argmin", "sum")}
    same |= {
        name: getattr(ops, name) for name in ("relu", "relu6", "isnan", "nan_to_num", "trunc", "sinc", "hard_shrink")
    }
    same |= {
        "all": lambda x: ops.max(x),
        "over examples": lambda x: ops.max(x, axis=0, keepdims=True),
        "pooled": lambda x: layers.GlobalMaxPooling1D()(ops.expand_dims(x, -1)),
        "buckets": layers.Discretization([-0.5, 0.0, 1.0]),
        "digitize": lambda x: ops.digitize(x, np.float32([-0.5, 0.0, 1.0])),
        "erfc": lambda x: tf.math.erfc(ops.clip(x, -1, 1)),
        "where": lambda x: ops.where(x > 0, x, 0.0),
        "clip": lambda x: ops.clip(x, -1, 1),
        "maximum": lambda x: ops.maximum(x, 0.5),
        "less": lambda x: x < 1,
        "not equal": lambda x: ops.not_equal(x, x),
        "arctan2": lambda x: ops.arctan2(x[2:], x[2:, ::-1]),
        "triangle": lambda x: ops.tril(x),
        "other triangle": lambda x: ops.triu(ops.stack([x, 2 * x])),
        "mask": lambda x: ops.softmax(ops.where(ops.isnan(x), -INF, ops.clip(x, -5, 5)), axis=-1),
        "threshold": lambda x: ops.threshold(x, 0.1, -1.0),
    }
    assert_equal(same, x, tmp_path, opset)


def test_a_triangle_of_infinities_is_a_mask(tmp_path):
    def causal(x):
        size = ops.shape(x)[1]
        scores = ops.matmul(x, ops.transpose(x, (0, 2, 1))) + ops.triu(ops.full((size, size), -INF), k=1)
        return ops.softmax(scores, axis=-1)

    x = keras.Input((None, 3), name="x")
    batch = {"x": np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")}
    ((_, received, expected),) = answers(keras.Model({"x": x}, {"y": Function(causal)(x)}), batch, tmp_path)
    np.testing.assert_allclose(received, expected, atol=1e-6)


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


@pytest.mark.parametrize("shape", [(5, 8), (None, None)], ids=["static", "dynamic"])
@pytest.mark.parametrize(("times", "opset"), [(0, 17), (2, 13), (2, 18)])
def test_fourier_transforms(shape, times, opset, tmp_path):
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


def test_reshapes_in_a_row_keep_their_sizes(tmp_path):
    def split(x):
        batch, length = ops.shape(x)[:2]
        heads = ops.transpose(ops.reshape(x, (batch, length, 1, 8)), (0, 2, 1, 3))
        return ops.matmul(ops.softmax(heads), ops.transpose(heads, (0, 1, 3, 2)))

    x = keras.Input((None, 8), name="x")
    # Without a bias the dense layer ends in a reshape of its own.
    model = keras.Model({"x": x}, {"y": Function(split)(layers.Dense(8, use_bias=False)(x))})
    batch = {"x": np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")}
    ((_, received, expected),) = answers(model, batch, tmp_path)
    assert received.shape == expected.shape == (2, 1, 5, 5)
    np.testing.assert_allclose(received, expected, atol=1e-5)


def transposed(d: int) -> dict[str, keras.Layer]:
    """Transposed convolutions over so many axes; the bias shows where there is nothing else."""
    make = getattr(layers, f"Conv{d}DTranspose")
    about = {"bias_initializer": keras.initializers.Constant(2)}
    found = {}
    for padding in ("valid", "same"):
        for kernel, strides in ((1, 2), (2, 3), (3, 2), (3, 5), (4, 1), (4, 2), (7, 16)):
            found[f"{kernel}, {strides}, {padding}"] = make(3, kernel, strides, padding=padding, **about)
        for kernel, strides, room in ((3, 2, 1), (2, 3, 2), (5, 4, 0)):
            options = {"padding": padding, "output_padding": room} | about
            found[f"{kernel}, {strides}, {padding}, {room}"] = make(3, kernel, strides, **options)
        found[f"3, dilated, {padding}"] = make(3, 3, padding=padding, dilation_rate=2, **about)
    # oneDNN cannot compute it.
    del found["2, 3, same, 2"]
    if d == 3:
        # Volumes take long, and differ from images in nothing but their axes.
        found = {name: found[name] for name in ("1, 2, valid", "3, 5, same", "4, 2, same", "3, 2, valid, 1")}
    if d == 2:
        found["2 x 3"] = make(3, (2, 3), (3, 1), **about)
    return found | {"without bias": make(3, 2, 3, use_bias=False)}


@pytest.mark.parametrize(("d", "dynamic"), [(1, True), (1, False), (2, True), (2, False), (3, False)])
def test_transposed_convolutions_whose_stride_is_longer_than_the_kernel(d, dynamic, tmp_path):
    sizes = (7, 4, 5)[:d]
    x = keras.Input(((None,) * d if dynamic else sizes) + (4,), name="x")
    first = keras.Input((4,) + ((None,) * d if dynamic else sizes), name="first")
    outputs = {f"y{i}": layer(x) for i, layer in enumerate(transposed(d).values())}
    own = getattr(layers, f"Conv{d}DTranspose")(3, 2, 3, data_format="channels_first")
    model = keras.Model({"x": x, "first": first}, outputs | {"channels_first": own(first)})
    batch = {"x": np.random.default_rng(0).normal(size=(2, *sizes, 4)).astype("float32")}
    batch["first"] = np.moveaxis(batch["x"], -1, 1).copy()
    for name, received, expected in answers(model, batch, tmp_path):
        assert received.shape == expected.shape, name
        np.testing.assert_allclose(received, expected, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(("resize", "dtype"), [(ops.image.resize, "float32"), (tf.image.resize, "uint8")])
def test_images_are_resized_as_tensorflow_does(resize, dtype, tmp_path):
    x = keras.Input((16, 13, 3), dtype=dtype, name="x")
    ways = [(how, False) for how in ("bicubic", "lanczos3")]
    ways += [(how, True) for how in ("bilinear", "bicubic", "lanczos5")]

    def resized(x):
        sizes = [(5, 7), (33, 20), (16, 9)]
        return [resize(x, size, how, antialias=smooth) for how, smooth in ways for size in sizes]

    model = keras.Model({"x": x}, {f"y{i}": y for i, y in enumerate(Function(resized)(x))})
    batch = {"x": np.random.default_rng(0).uniform(0, 255, (2, 16, 13, 3)).astype(dtype)}
    for name, received, expected in answers(model, batch, tmp_path):
        assert (received.shape, received.dtype) == (expected.shape, expected.dtype), name
        np.testing.assert_allclose(received, expected, atol=1e-3, err_msg=name)


class Half(layers.Layer):
    """Halves images of any size."""

    def compute_output_shape(self, shape):
        return (shape[0], None, None, shape[3])

    def call(self, x):
        height, width = ops.shape(x)[1:3]
        return ops.image.resize(x, (height // 2, width // 2), interpolation="bilinear")


def test_images_are_scaled_whatever_their_size(tmp_path):
    x = keras.Input((None, None, 4), name="x")
    outputs = {how: layers.UpSampling2D((2, 3), interpolation=how)(x) for how in ("bilinear", "nearest")}
    batch = {"x": np.random.default_rng(0).normal(size=(2, 7, 10, 4)).astype("float32")}
    resize = ops.image.resize
    for name, received, expected in answers(keras.Model({"x": x}, outputs | {"half": Half()(x)}), batch, tmp_path):
        assert received.shape == expected.shape, name
        np.testing.assert_allclose(received, expected, atol=1e-5, err_msg=name)
    assert ops.image.resize is resize
