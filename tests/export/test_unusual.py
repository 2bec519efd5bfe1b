"""Models that are rare: each is exported right, or refused with a sentence that says why."""

from importlib import import_module
from typing import Any

import keras
import numpy as np
import onnxruntime
import pytest
from keras import layers, ops

import export
from export.model import float32
from tests.export.models import Function, conv_net, randomise
from zoo.training.learner import precision

pytestmark = pytest.mark.usefixtures("in_this_process")

CPU = "CPUExecutionProvider"


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def exported(model: keras.Model, path: Any, **options: Any) -> Any:
    return export.load(export.export(model, path / "a", **options).path)


@pytest.mark.parametrize(
    ("names", "called"),
    [
        (("self", "class"), ["self_input", "class_input"]),
        (("x", "X"), ["x", "X_1"]),
        (("args", "kwargs"), ["args", "kwargs"]),
        (("training", "mask"), ["training", "mask"]),
        (("a b", "ü"), ["a_b", "x_"]),
    ],
)
def test_names_that_python_or_tensorflow_keep_for_themselves(names, called, tmp_path):
    a, b = (keras.Input((2,), name=name) for name in names)
    model = randomise(keras.Model([a, b], layers.Dense(3)(a) - layers.Dense(3)(b)))
    x, y = normal(4, 2), normal(5, 2)[1:]
    predict = exported(model, tmp_path)
    received = predict(dict(zip(called, (x, y), strict=True)))
    np.testing.assert_allclose(received, model([x, y]), atol=1e-5)


@pytest.mark.parametrize("name", ["_hidden", "ü", "a b"])
def test_names_of_layers_that_tensorflow_does_not_take_are_refused(name, tmp_path):
    x = keras.Input((2,))
    with pytest.raises(export.ExportError, match="Expected a model that TensorFlow can .* is not a valid "):
        export.export(keras.Model(x, layers.Dense(3, name=name)(x)), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
    # Names of what is made later do not begin with what was refused.
    later = layers.Dense(2, name="later")
    later.build((None, 2))
    assert later.kernel.path == "later/kernel"


class Partial(keras.Model):
    """Leaves out what it was not asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, x: Any) -> Any:
        return {"states": None, "scores": self.dense(x), "more": (None, 2 * x)}


def test_an_output_that_is_none_is_left_out(tmp_path):
    model, x = Partial(), normal(3, 4)
    received = exported(model, tmp_path, samples=x, formats="onnx")(x)
    assert sorted(received) == ["more_1", "scores"]
    np.testing.assert_allclose(received["scores"], model(x)["scores"], atol=1e-5)
    np.testing.assert_allclose(received["more_1"], 2 * x, atol=1e-5)


@pytest.mark.parametrize("given", [None, {"name": "cat"}], ids=["nothing", "text"])
def test_a_model_that_gives_no_tensors_is_refused(given, tmp_path):
    class Silent(Partial):
        def call(self, x):
            self.dense(x)
            return given

    with pytest.raises(export.ExportError, match="Expected a model whose outputs are tensors. Received: silent"):
        export.to_onnx(Silent(), tmp_path / "m.onnx", samples=normal(3, 4))


def of_one_example(kind: str) -> keras.Model:
    if kind == "inside":
        x = keras.Input((6, 4))
        return keras.Model(x, Function(lambda z: ops.reshape(z, (1, 24)))(x))
    x = keras.Input(batch_shape=(1 if kind == "batch" else 3, 6, 4))
    if kind == "batch":
        return keras.Model(x, layers.Dense(3)(Function(lambda z: ops.reshape(z, (1, 24)))(x)))
    return keras.Model(x, layers.LSTM(3, stateful=True, name="memory")(x))


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("batch", "Expected a model that takes batches of any size. Received: .*, made for batches of 1 "),
        ("state", "Expected a model that keeps no state between batches. Received: .* memory is stateful"),
        ("inside", "Expected "),
    ],
)
def test_models_of_batches_of_one_size_are_refused(kind, sentence, tmp_path):
    for save in (export.to_onnx, export.export):
        with pytest.raises((export.ExportError, export.ParityError), match=sentence):
            save(of_one_example(kind), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_was_made_for_batches_of_one_size_but_takes_any_is_exported(tmp_path):
    x = keras.Input(batch_shape=(8, 4))
    model = keras.Model(x, layers.Dense(3)(x))
    np.testing.assert_allclose(exported(model, tmp_path, formats="onnx")(normal(3, 4)), model(normal(3, 4)), atol=1e-5)


class Reads(keras.Model):
    """A model that was never told what it takes."""

    def __init__(self, read: Any, **parts: keras.Layer) -> None:
        super().__init__()
        self.dense, self.read = layers.Dense(2), read
        for name, layer in parts.items():
            setattr(self, name, layer)

    def call(self, x: Any) -> Any:
        return self.dense(self.read(self, x))


def of_tokens(model: Reads, x: Any) -> Any:
    return ops.mean(model.embedding(x), axis=1)


def of_both(model: Reads, x: Any) -> Any:
    return x + ops.mean(ops.one_hot(x, 5), axis=2)


@pytest.mark.parametrize(
    ("read", "dtype", "called"),
    [
        (of_tokens, "int32", "int32"),
        (lambda model, x: of_tokens(model, x["tokens"]) * x["scale"], "int32", {"scale": "float32", "tokens": "int32"}),
        (lambda model, x: ops.where(ops.cast(x, "bool"), 1.0, 0.5), "bool", "bool"),
        (lambda model, x: ops.max(ops.one_hot(x, 7), axis=2), "int64", "int64"),
        (of_both, "float32", "float32"),
        (lambda model, x: x / 255, "uint8", "float32"),
    ],
    ids=["tokens", "nested", "booleans", "one-hot", "numbers, too", "bytes"],
)
def test_a_subclass_that_makes_whole_numbers_of_its_inputs_takes_them(read, dtype, called, tmp_path):
    parts = {"embedding": layers.Embedding(50, 4, mask_zero=True)} if dtype == "int32" else {}
    model = Reads(read, **parts)
    x: Any = np.arange(14).reshape(2, 7).astype(dtype)
    x = {"tokens": x, "scale": normal(2, 1)} if isinstance(called, dict) else x
    expected = model(x)
    session = onnxruntime.InferenceSession(export.to_onnx(model, tmp_path / "m.onnx"), providers=[CPU])
    kinds = {"float32": "float"}
    called, x = (called, x) if isinstance(called, dict) else ({"input": called}, {"input": x.astype(called)})
    assert {i.name: i.type for i in session.get_inputs()} == {
        n: f"tensor({kinds.get(t, t)})" for n, t in called.items()
    }
    np.testing.assert_allclose(session.run(None, x)[0], expected, atol=1e-5)


def recurrent(use_cudnn: Any) -> keras.Model:
    given = keras.Input((5, 4), name="x")
    kinds = [layers.LSTM(3, use_cudnn=use_cudnn), layers.GRU(3, use_cudnn=use_cudnn)]
    nested = keras.Sequential([layers.Bidirectional(layers.LSTM(3, return_sequences=True)), layers.GRU(2)])
    inside = [*kinds, *map(layers.Bidirectional, kinds), nested]
    return randomise(keras.Model(given, {f"y{i}": layer(given) for i, layer in enumerate(inside)}))


@pytest.mark.parametrize("use_cudnn", ["auto", True])
def test_recurrent_layers_convert_on_a_machine_with_a_gpu(use_cudnn, tmp_path, monkeypatch):
    expected = recurrent(False)(normal(2, 5, 4))
    monkeypatch.setattr(import_module("keras.src.backend.tensorflow.rnn"), "_is_gpu_available", lambda: True)
    model = recurrent(use_cudnn)
    session = onnxruntime.InferenceSession(export.to_onnx(model, tmp_path / "m.onnx"), providers=[CPU])
    received = dict(zip(expected, session.run(list(expected), {"x": normal(2, 5, 4)}), strict=True))
    for name, y in expected.items():
        np.testing.assert_allclose(received[name], y, atol=1e-5, err_msg=name)
    assert model.layers[1].use_cudnn == use_cudnn


class Images(keras.Model):
    """A model that is built by its first call."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.pool = layers.Conv2D(5, 3, padding="same"), layers.GlobalAveragePooling2D()

    def call(self, images: Any) -> Any:
        return self.pool(self.convolution(images))


@pytest.mark.parametrize("built", [False, True])
def test_a_subclass_is_built_on_its_own_layout(built, tmp_path):
    model, images = Images(), normal(4, 3, 8, 9)
    if built:
        model(np.moveaxis(images, 1, -1))
    raw = export.Preprocessing("float32", scale=0.5, mean=(0.1, 0.2, 0.3), channel_axis=1)
    options = {"samples": images, "preprocessing": raw, "formats": "onnx"}
    received = exported(model, tmp_path, layout="nchw", **options)(images)
    assert tuple(model.convolution.kernel.shape) == (3, 3, 3, 5)
    prepared = np.moveaxis(images, 1, -1) * 0.5 - np.float32([0.1, 0.2, 0.3])
    np.testing.assert_allclose(received, model(prepared), atol=1e-4)


@keras.saving.register_keras_serializable("tests.export")
class Stateful(layers.Layer):
    """Holds what is in no config: plain values, arrays, tensors, functions, each set later."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._temperature, self.means, self.offsets = 1.0, None, {"first": [0.0]}
        self.function, self.constant = ops.abs, None

    def build(self, _: Any) -> None:
        self.constant = ops.ones((), self.compute_dtype)

    def call(self, x: Any) -> Any:
        x = self.function(x) / self._temperature + self.offsets["first"][0]
        return x * self.constant if self.means is None else x * self.constant - ops.cast(self.means, x.dtype)


def changed(x: Any) -> Any:
    return ops.sin(x) + 2


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float16"])
def test_a_half_precision_model_keeps_what_was_set_later(policy, tmp_path):
    with precision(policy):
        x = keras.Input((4,), name="x")
        inner, outer = Stateful(), Stateful()
        model = keras.Model(x, outer(keras.Sequential([layers.Dense(3), inner])(x)))
    inner._temperature, inner.function, inner.offsets["first"][0] = 0.1, changed, 3.0
    outer.means, outer.constant = np.float32([5, -5, 1]), ops.cast(7.0, outer.compute_dtype)
    batch = normal(8, 4)
    expected = np.asarray(ops.cast(model(batch), "float32"))
    session = onnxruntime.InferenceSession(export.to_onnx(model, tmp_path / "m.onnx"), providers=[CPU])
    (received,) = session.run(None, {"x": batch})
    assert np.max(np.abs(received - expected)) <= 0.02 * np.max(np.abs(expected))


class Cell(layers.Layer):
    """A cell that is not registered and has no config of its own."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.state_size = units

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(shape[-1] + self.state_size, self.state_size))

    def call(self, x: Any, states: Any) -> Any:
        state = ops.tanh(ops.matmul(ops.concatenate([x, states[0]], axis=-1), self.kernel))
        return state, [state]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_half_precision_model_that_cannot_be_copied_computes_in_float32(policy, tmp_path):
    x = keras.Input((5, 4), name="x")
    with precision(policy):
        model = randomise(keras.Model(x, layers.RNN(cell := Cell(3))(x)))
    received = exported(model, tmp_path, formats="onnx")(normal(6, 5, 4))
    assert cell.compute_dtype == model.layers[-1].compute_dtype == policy.removeprefix("mixed_")
    state = np.zeros((6, 3))
    for step in np.moveaxis(normal(6, 5, 4), 1, 0):
        state = np.tanh(np.concatenate([step, state], axis=-1) @ cell.kernel.numpy())
    np.testing.assert_allclose(received, state, atol=1e-5)


def test_a_half_precision_model_that_cannot_be_copied_and_has_weights_in_it_is_refused(tmp_path):
    x = keras.Input((5, 4))
    with precision("float16"):
        model = keras.Model(x, layers.RNN(Cell(3))(x))
    with pytest.raises(export.ExportError, match="Expected a model that its config can copy to float32"):
        export.to_onnx(model, tmp_path / "m.onnx")


def test_a_copy_in_float32_is_given_nothing_that_it_has(monkeypatch):
    with precision("mixed_bfloat16"):
        model = conv_net()
    given: list[str] = []
    monkeypatch.setattr(float32, "setattr", lambda layer, name, value: given.append(name), raising=False)
    float32.convert_to_float32(model)
    assert given == []
