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
from tests.channels import convolves_channels_first
from tests.export.models import Function
from tests.sweep import sweep

pytestmark = pytest.mark.usefixtures("in_this_process")

INF, NAN = np.inf, np.nan
OPSETS = (13, 17, 18)
# What 17 has, 13 or 18 has in the same form.
USUAL_OPSETS = sweep(OPSETS, lambda opset: opset != 17)


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


INTEGERS = [*product(("int32", "int64"), OPSETS), ("int16", 17)]
WHOLE = np.array([[-4, 4, -5, -7, 1], [-9, 9, 3, -3, 2], [0, -1, 1, 2, 4], [5, 2**24 + 1, 1 - 2**31, 2**31 - 1, -6]])


def test_every_operation_is_in_the_table_of_one_kind():
    assert sum(len(kind.REWRITES) for kind in KINDS) == len(REWRITES) > 30


@pytest.mark.parametrize(
    "way", sweep(INTEGERS, lambda way: way in (("int32", 13), ("int64", 18), ("int16", 17))), ids=str
)
def test_integers(way, tmp_path):
    dtype, opset = way
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


@pytest.mark.parametrize("opset", USUAL_OPSETS)
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


@pytest.mark.parametrize("opset", USUAL_OPSETS)
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


@pytest.mark.parametrize("opset", USUAL_OPSETS)
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


@pytest.mark.parametrize("opset", USUAL_OPSETS)
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
        if convolves_channels_first():
            # Like the channels first, TensorFlow computes dilated ones with oneDNN alone.
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
    inputs = {"x": keras.Input(((None,) * d if dynamic else sizes) + (4,), name="x")}
    outputs = {f"y{i}": layer(inputs["x"]) for i, layer in enumerate(transposed(d).values())}
    batch = {"x": np.random.default_rng(0).normal(size=(2, *sizes, 4)).astype("float32")}
    if convolves_channels_first():
        inputs["first"] = keras.Input((4,) + ((None,) * d if dynamic else sizes), name="first")
        own = getattr(layers, f"Conv{d}DTranspose")(3, 2, 3, data_format="channels_first")
        outputs["channels_first"] = own(inputs["first"])
        batch["first"] = np.moveaxis(batch["x"], -1, 1).copy()
    for name, received, expected in answers(keras.Model(inputs, outputs), batch, tmp_path):
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


@pytest.mark.parametrize("opset", USUAL_OPSETS)
def test_an_update_beyond_the_end_is_shifted_into_the_array(opset, tmp_path):
    x = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")
    starts = [[0, 1, 0], [1, 0, 2], [0, 9, 0], [0, -3, 3]]
    functions = {str(s): lambda x, s=s: ops.slice_update(x, s, 10 * x[1:, :2, :2]) for s in starts}
    assert_equal(functions, x, tmp_path, opset)
    expected = x.copy()
    expected[0:2, 3:5, 0:2] = 10 * x[1:, :2, :2]
    np.testing.assert_array_equal(functions["[0, 9, 0]"](x), expected)


@pytest.mark.parametrize("opset", USUAL_OPSETS)
def test_lists_of_an_unrolled_loop(opset, tmp_path):
    def write(x: Any, places: Any, read: int | None = None) -> Any:
        rows = tf.TensorArray("float32", size=3, clear_after_read=False, element_shape=(2,))
        for i, place in enumerate(places):
            rows = rows.write(place, x[0, :2] * (i + 1))
        return rows.stack() if read is None else rows.read(read)

    x = np.random.default_rng(0).normal(size=(2, 4)).astype("float32")
    functions = {
        "in another order": lambda x: write(x, (2, 0, 1)),
        "written twice": lambda x: write(x, (0, 1, 2, 0)),
        "read": lambda x: write(x, (2, 0, 1), read=2)[None],
    }
    batch = {f"{name}, as a batch": lambda x, f=f: x[:, :1] + ops.sum(f(x)) for name, f in functions.items()}
    assert_equal(batch, x, tmp_path, opset)
