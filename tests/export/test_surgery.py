"""Networks after surgery under onnxruntime: they compute the same, and what only training does is gone."""

from collections import Counter
from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest
from keras import layers as L

import export
import keras_skip as ks
from tests.export.models import randomise
from tests.export.structure import optimised

pytestmark = pytest.mark.usefixtures("in_this_process")


def network() -> keras.Model:
    x = keras.Input((8, 8, 3))
    y = L.Conv2D(4, 3, strides=2, padding="same")(x)
    inner = keras.Input((4, 4, 4))
    branch = L.Conv2D(4, 3, padding="same", activation="relu")(inner)
    y = keras.Model(inner, inner + L.BatchNormalization()(branch), name="inner")(y)
    branch = L.Conv2D(8, 3, padding="same")(L.Conv2D(8, 3, strides=2, padding="same", activation="relu")(y))
    return keras.Model(x, L.Add(name="sum")([L.Conv2D(8, 1, strides=2)(y), branch]))


def operations(path: Path) -> Counter:
    return Counter(node.op_type for node in optimised(path).node)


def test_a_network_that_drops_branches_is_the_one_without_drops(tmp_path: Path):
    model = randomise(network())
    models = [model, *(ks.add_stochastic_depth(model, 0.5, granularity) for granularity in ("sample", "batch"))]
    before, *after = (operations(export.to_onnx(each, tmp_path / "model.onnx", overwrite=True)) for each in models)
    assert after == [before, before]


def test_what_surgery_adds_is_computed(tmp_path: Path):
    model = randomise(ks.add_layer_scale(ks.add_squeeze_excite(ks.add_stochastic_depth(network(), 0.5), ratio=2)))
    path = export.to_onnx(ks.without_skip(model, "sum"), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).normal(size=(5, 8, 8, 3)).astype("float32")
    expected = np.asarray(ks.without_skip(model, "sum")(x))
    received = session.run(None, {session.get_inputs()[0].name: x})[0]
    assert np.max(np.abs(received - expected)) <= 1e-4 * np.max(np.abs(expected))
