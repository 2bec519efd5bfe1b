"""Exports models on the current backend, and prints each result as a line of JSON.

`python -m tests.export.other_backends ENGINE NAME ...`; one process on TensorFlow converts all models for tf2onnx.
"""

import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnxruntime
from keras import layers, ops

import export
import zoo
from export.engines.tensorflow_process import keep_process
from tests.export.models import randomise
from tests.export.test_keras_layers import KINDS, TRAINING_ONLY, examples, network

ENGINE, *NAMES = sys.argv[1:]
OPSETS = {"tf2onnx": 17, "jax2onnx": 21, "torch": 20}
Case = Callable[[], tuple[keras.Model, dict[str, np.ndarray]]]


def of_kind(kind: Any) -> Case:
    """All layers of a kind, with an output each; Keras cannot read the config that it writes of a RandomShear."""
    TRAINING_ONLY.pop("RandomShear", None)
    return lambda: (network(kind), {"input": examples(kind)})


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def dynamic_time() -> tuple[keras.Model, dict[str, np.ndarray]]:
    x = keras.Input((None, 4), name="input")
    y = layers.Bidirectional(layers.LSTM(5, return_sequences=True))(x)
    y = layers.MultiHeadAttention(2, 3)(y, y)
    y = {"steps": layers.Conv1D(3, 3, padding="same")(y), "last": layers.GRU(4)(layers.Dropout(0.5)(y))}
    return randomise(keras.Model(x, y)), {"input": draw(3, 7, 4)}


def dictionary() -> tuple[keras.Model, dict[str, np.ndarray]]:
    inputs = {"ids": keras.Input((5,), dtype="int32", name="ids"), "mask": keras.Input((5,), dtype="bool", name="mask")}
    x = layers.Embedding(9, 4)(inputs["ids"])
    x = layers.MultiHeadAttention(2, 3)(x, x, attention_mask=ops.expand_dims(inputs["mask"], 1))
    y = {"logits": layers.Dense(2)(x), "total": ops.sum(ops.cast(inputs["mask"], "int32"), axis=-1)}
    ids = np.random.default_rng(1).integers(0, 9, (3, 5)).astype("int32")
    return randomise(keras.Model(inputs, y)), {"ids": ids, "mask": ids > 3}


def resnet() -> tuple[keras.Model, dict[str, np.ndarray]]:
    return randomise(zoo.build("resnet20", depth=8)), {"input": draw(3, 32, 32, 3)}


def highway() -> tuple[keras.Model, dict[str, np.ndarray]]:
    return randomise(zoo.build("highway_mnist_16")), {"input": draw(3, 28, 28, 1)}


def refused(function: Any) -> Case:
    """A layer that cannot go to another process or does not run there."""

    class Local(layers.Layer):
        def call(self, x: Any) -> Any:
            return function(x)

    return lambda: (keras.Sequential([keras.Input((3,), name="input"), Local()]), {"input": draw(3, 3)})


def of_script() -> tuple[keras.Model, dict[str, np.ndarray]]:
    """Classes and functions of a script, which nothing can import."""
    x = keras.Input((4,), name="input")
    y = Weighted()(layers.Dense(3, activation=shifted)(Doubled(times=3.0)(x)))
    y = layers.Dense(2, activation=lambda y: ops.sin(y) * AMPLITUDE)(y)
    return keras.Model(x, layers.Lambda(lambda y: shifted(y) / AMPLITUDE)(y)), {"input": draw(3, 4)}


AMPLITUDE = 2.0


def shifted(x: Any) -> Any:
    return ops.tanh(x) + 1


@keras.saving.register_keras_serializable("mine")
class Weighted(layers.Layer):
    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=shape[-1:], initializer=keras.initializers.RandomNormal(seed=1))

    def call(self, x: Any) -> Any:
        return x * self.scale


class Doubled(layers.Layer):
    def __init__(self, times: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.times = times

    def call(self, x: Any) -> Any:
        return shifted(x * self.times)


def of_layer(layer: Any, *shape: int) -> Case:
    return lambda: (keras.Sequential([keras.Input(shape, name="input"), layer()]), {"input": draw(3, *shape)})


def native(x: Any) -> Any:
    """Runs on one backend alone."""
    if keras.config.backend() == "jax":
        import jax

        return jax.numpy.sin(x)
    import torch

    return torch.sin(x)


LOCK = threading.Lock()
CASES: dict[str, Case] = {kind.__name__: of_kind(kind) for kind in KINDS}
CASES |= {case.__name__: case for case in (dynamic_time, dictionary, resnet, highway, of_script)}
CASES |= {
    "native": refused(native),
    "locked": refused(lambda x: x if LOCK.locked() else -x),
    "shear": of_layer(lambda: layers.RandomShear(0.1), 8, 8, 3),
}


def try_case(name: str, folder: Path) -> dict[str, Any]:
    """The largest difference of each output as a share of its largest value, or the error."""
    model, batch = CASES[name]()
    samples = batch if len(batch) > 1 else next(iter(batch.values()))
    begun = time.monotonic()
    try:
        file = export.to_onnx(model, folder / f"{name}.onnx", samples=samples, engine=ENGINE, opset=OPSETS[ENGINE])
    except (export.ExportError, export.ParityError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    took = time.monotonic() - begun
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    fed = {value.name: x for value, x in zip(session.get_inputs(), batch.values(), strict=True)}
    received = dict(zip(names, session.run(names, fed), strict=True))
    given = model(samples, training=False)
    expected = given if isinstance(given, dict) else {names[0]: given}
    differences = {}
    for key, tensor in expected.items():
        y = ops.convert_to_numpy(tensor)
        assert (received[key].shape, received[key].dtype) == (y.shape, y.dtype), key
        scale = max(1.0, float(np.max(np.abs(y))))
        differences[key] = float(np.max(np.abs(received[key] * 1.0 - y))) / scale
    return {"differences": differences, "seconds": round(took, 1)}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, keep_process():
        for name in NAMES or CASES:
            print(json.dumps({"name": name, **try_case(name, Path(folder))}), flush=True)
        assert all(path.suffix == ".onnx" for path in Path(folder).iterdir())


if __name__ == "__main__":
    main()
