"""Opsets up to 24, their IR versions, and the versions of onnxruntime that read them."""

from collections.abc import Callable
from itertools import product
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from keras import layers
from onnx import TensorProto, helper

import export
from export.convert.versions import OPSETS, RUNTIMES, raise_opset
from tests.export.models import conv_net, mlp, randomise
from tests.sweep import sweep

pytestmark = pytest.mark.usefixtures("in_this_process")

# The IR version that onnx released with each opset: https://onnx.ai/onnx/api/helper.html, VERSION_TABLE.
IR_VERSIONS = {17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11, 24: 12}


def attention() -> keras.Model:
    inputs = keras.Input((None, 8))
    x = layers.LayerNormalization()(layers.MultiHeadAttention(2, 4)(inputs, inputs))
    return randomise(keras.Model(inputs, layers.Dense(3, "gelu")(x)))


def recurrent() -> keras.Model:
    inputs = keras.Input((5, 3))
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(inputs)
    return randomise(keras.Model(inputs, layers.GRU(3, reset_after=False)(x)))


def resizing() -> keras.Model:
    inputs = keras.Input((6, 8, 3))
    x = layers.UpSampling2D(2, interpolation="bilinear")(layers.Conv2DTranspose(4, 3, 2)(inputs))
    return randomise(keras.Model(inputs, layers.Resizing(9, 7)(layers.AveragePooling2D(2)(x))))


def table() -> keras.Model:
    numbers, place = keras.Input((3,), name="numbers"), keras.Input((1,), dtype="int32", name="place")
    known = layers.Flatten()(layers.Embedding(7, 4)(place))
    ages = layers.Discretization([-0.5, 0.0, 1.0], output_mode="multi_hot")(numbers)
    return randomise(keras.Model([numbers, place], layers.Dense(2)(layers.Concatenate()([numbers, ages, known]))))


KINDS: dict[str, tuple[Callable[[], keras.Model], dict[str, tuple[int, ...]]]] = {
    "convolution": (conv_net, {"input": (3, 8, 8, 3)}),
    "attention": (attention, {"input": (3, 7, 8)}),
    "recurrent": (recurrent, {"input": (3, 5, 3)}),
    "resizing": (resizing, {"input": (3, 6, 8, 3)}),
    "table": (table, {"numbers": (3, 3), "place": (3, 1)}),
}


def draw_batch(kind: str) -> dict[str, Any]:
    shapes, generator = KINDS[kind][1], np.random.default_rng(0)
    batch: dict[str, Any] = {name: generator.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    if "place" in batch:
        batch["place"] = generator.integers(0, 7, shapes["place"]).astype("int32")
    return batch


def check(kind: str, path: Any, **options: Any) -> onnx.ModelProto:
    """Exports a network, compares onnxruntime with Keras, and returns the file."""
    model, batch = KINDS[kind][0](), draw_batch(kind)
    file = export.to_onnx(model, path / "model.onnx", **options)
    received = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, batch)[0]
    expected = np.asarray(model(list(batch.values()) if len(batch) > 1 else batch["input"], training=False))
    np.testing.assert_allclose(received, expected, atol=1e-5 * np.abs(expected).max())
    return onnx.load(file)


WAYS = [*product(KINDS, (21, 24)), ("attention", 20), ("attention", 23), ("table", 19), ("table", 22)]


# Every opset from 17 on occurs here or below.
USUAL = {*((kind, 24) for kind in KINDS), ("convolution", 21), ("attention", 23), ("table", 19)}


@pytest.mark.parametrize("way", sweep(WAYS, lambda way: way in USUAL), ids=str)
def test_every_kind_of_network_computes_the_same_at_newer_opsets(way, tmp_path):
    kind, opset = way
    model = check(kind, tmp_path, opset=opset)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == opset
    assert model.ir_version == IR_VERSIONS[opset]


@pytest.mark.parametrize(("runtime", "opset"), [("1.13", 17), ("1.15.1", 18), ("1.17", 20), ("1.22.0", 22)])
def test_the_file_for_an_onnxruntime_has_the_newest_opset_that_it_runs(runtime, opset, tmp_path):
    model = check("table", tmp_path, for_runtime=runtime)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == opset
    assert model.ir_version == IR_VERSIONS[opset]


def test_the_onnxruntime_of_this_environment_is_in_the_table_and_runs_what_the_table_says():
    version = ".".join(onnxruntime.__version__.split(".")[:2])
    assert version in RUNTIMES and set(RUNTIMES.values()) < set(OPSETS)
    newest = RUNTIMES[version]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    graph = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "abs", [x], [y])
    about = {"opset_imports": [helper.make_opsetid("", newest)], "ir_version": IR_VERSIONS[newest]}
    onnxruntime.InferenceSession(helper.make_model(graph, **about).SerializeToString())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"opset": 12}, "between 13 and 24. Received: opset=12"),
        ({"opset": True}, "between 13 and 24. Received: opset=True"),
        ({"for_runtime": "1.12"}, 'from "1.13" to "1.26". Received: for_runtime=\'1.12\''),
        ({"for_runtime": "1.27"}, 'from "1.13" to "1.26". Received: for_runtime=\'1.27\''),
        ({"for_runtime": 1.17}, 'from "1.13" to "1.26". Received: for_runtime=1.17'),
        (
            {"for_runtime": "1.17", "opset": 20},
            "opset or for_runtime, not both. Received: opset=20, for_runtime='1.17'",
        ),
    ],
)
def test_what_is_out_of_range_is_refused_before_the_model_is_read(options, message, tmp_path):
    for function in (export.to_onnx, export.export):
        with pytest.raises(ValueError, match=message):
            function("no model", tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def fourier(inner: bool) -> onnx.ModelProto:
    """A model of opset 18 whose transform has its axis as an attribute, as it has not from opset 20 on."""
    node = helper.make_node("DFT", ["a"], ["b"], axis=1)
    size, result = ([None, 8, 1], [None, 8, 2]) if not inner else ([3, None, 8, 1], [3, None, 8, 2])
    taken = helper.make_tensor_value_info("x" if inner else "a", TensorProto.FLOAT, size)
    given = helper.make_tensor_value_info("y" if inner else "b", TensorProto.FLOAT, result)
    if inner:
        a = helper.make_tensor_value_info("a", TensorProto.FLOAT, size[1:])
        b = helper.make_tensor_value_info("b", TensorProto.FLOAT, result[1:])
        node = helper.make_node("Scan", ["x"], ["y"], num_scan_inputs=1, body=helper.make_graph([node], "in", [a], [b]))
    graph = helper.make_graph([node], "fourier", [taken], [given])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize("inner", [False, True])
def test_an_operation_whose_form_has_changed_is_rewritten(inner):
    model = raise_opset(fourier(inner), 21)
    onnx.checker.check_model(model, full_check=True)
    shape = (3, 2, 8, 1) if inner else (2, 8, 1)
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (received,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(received[..., 0] + 1j * received[..., 1], np.fft.fft(x[..., 0]), atol=1e-5)


def test_an_opset_below_the_change_keeps_the_form():
    model = raise_opset(fourier(False), 19)
    assert [attribute.name for attribute in model.graph.node[0].attribute] == ["axis"] and model.ir_version == 9


def test_the_default_opset_stays(tmp_path):
    model = onnx.load(export.to_onnx(mlp(), tmp_path / "model.onnx"))
    assert (model.opset_import[0].version, model.ir_version) == (17, 8)
