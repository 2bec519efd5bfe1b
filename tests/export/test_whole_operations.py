"""Operations that newer opsets have whole, and products of matrices that Keras writes as Einsum."""

import math
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from keras import layers, ops

import export
from tests.export.models import Function, randomise

pytestmark = pytest.mark.usefixtures("in_this_process")


def converted(model: keras.Model, path: Any, opset: int) -> tuple[onnxruntime.InferenceSession, list[str]]:
    file = export.to_onnx(model, path / "model.onnx", opset=opset, overwrite=True)
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]), [
        node.op_type for node in onnx.load(file).graph.node
    ]


def around(layer: Any, *shape: int | None) -> keras.Model:
    inputs = keras.Input(shape, name="x")
    return randomise(keras.Model(inputs, layer(inputs)))


def draw(*shape: int, mean: float = 0.0) -> np.ndarray:
    return np.random.default_rng(0).normal(mean, 1, shape).astype("float32")


NORMS = {
    "last axis": layers.LayerNormalization,
    "two axes": lambda: layers.LayerNormalization(axis=[-2, -1]),
    "without scale": lambda: layers.LayerNormalization(scale=False),
    "without offset": lambda: layers.LayerNormalization(center=False),
    "with neither": lambda: layers.LayerNormalization(scale=False, center=False),
}


@pytest.mark.parametrize("kind", NORMS)
def test_a_layer_norm_is_one_operation_and_exact_far_from_zero(kind, tmp_path):
    layer = NORMS[kind]()
    session, operations = converted(around(layer, 5, 8), tmp_path, 17)
    assert operations.count("LayerNormalization") == 1 and len(operations) == 3
    for mean in (0.0, 1000.0):
        x = draw(3, 5, 8, mean=mean)
        axes = tuple(layer.axis)
        centred = x.astype("float64") - x.astype("float64").mean(axes, keepdims=True)
        expected = centred / np.sqrt((centred**2).mean(axes, keepdims=True) + layer.epsilon)
        expected = expected * (np.asarray(layer.gamma) if layer.scale else 1)
        expected = expected + (np.asarray(layer.beta) if layer.center else 0)
        # A mean of 1000 in float32 is known to 6e-5.
        np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, atol=1e-6 + 1e-6 * mean)


@pytest.mark.parametrize(
    ("layer", "opset", "shape"),
    [
        (layers.LayerNormalization(), 16, (5, 8)),
        (layers.LayerNormalization(axis=1), 21, (5, 8)),
        (layers.LayerNormalization(), 21, (5, 6, 8)),
        (layers.GroupNormalization(2), 21, (5, 8)),
        (layers.RMSNormalization(), 23, (5, 8)),
    ],
    ids=["an older opset", "another axis", "a map", "groups", "root mean square"],
)
def test_other_norms_stay_in_parts(layer, opset, shape, tmp_path):
    _, operations = converted(around(layer, *shape), tmp_path, opset)
    assert not [name for name in operations if name.endswith("Normalization")]


def test_a_layer_norm_whose_parts_others_take_keeps_their_values(tmp_path):
    def norm(x: Any) -> Any:
        mean, variance = ops.moments(x, [-1], keepdims=True)
        factor = ops.rsqrt(variance + 1e-3)
        return x * factor + (0.5 - mean * factor) + factor

    session, _ = converted(around(Function(norm), 8), tmp_path, 17)
    x = draw(4, 8)
    factor = 1 / np.sqrt(x.var(-1, keepdims=True) + 1e-3)
    np.testing.assert_allclose(
        session.run(None, {"x": x})[0], (x - x.mean(-1, keepdims=True)) * factor + 0.5 + factor, atol=1e-5
    )


@pytest.mark.parametrize("approximate", [False, True])
def test_a_gelu_is_one_operation_from_opset_20_on(approximate, tmp_path):
    model = around(Function(lambda x: ops.gelu(x, approximate=approximate)), 9)
    x = draw(5, 9)
    wide = x.astype("float64")
    inner = np.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3))
    expected = wide / 2 * (1 + (inner if approximate else np.vectorize(math.erf)(wide / math.sqrt(2))))
    for opset in (19, 20, 24):
        session, operations = converted(model, tmp_path, opset)
        assert (operations == ["Gelu"]) == (opset >= 20)
        np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, atol=1e-6)


NEARLY = {
    "another half": lambda x: 0.4 * x * ops.erfc(-x * math.sqrt(0.5)),
    "another root": lambda x: 0.5 * x * ops.erfc(-x * 0.7),
    "another factor": lambda x: 0.5 * x * (1 + ops.tanh(0.8 * (x + 0.044715 * x**3))),
    "another cube": lambda x: 0.5 * x * (1 + ops.tanh(math.sqrt(2 / math.pi) * (x + 0.05 * x**3))),
    "another power": lambda x: 0.5 * x * (1 + ops.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**2))),
    "another one": lambda x: 0.5 * x * (2 + ops.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "another value": lambda x: 0.5 * ops.sin(x) * (1 + ops.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
}


def test_what_is_nearly_a_gelu_is_none(tmp_path):
    inputs = keras.Input((9,), name="x")
    model = keras.Model(inputs, [Function(function)(inputs) for function in NEARLY.values()])
    _, operations = converted(model, tmp_path, 21)
    assert "Gelu" not in operations


def test_attention_that_computes_its_own_scale_is_one_operation_too(tmp_path):
    def attend(x: Any) -> Any:
        parts = ops.reshape(x, (-1, x.shape[1], 2, 3))
        return ops.reshape(ops.dot_product_attention(parts, parts, parts), (-1, *x.shape[1:]))

    model = around(Function(attend), 5, 6)
    session, operations = converted(model, tmp_path, 23)
    x = draw(2, 5, 6)
    assert operations.count("Attention") == 1 and "Softmax" not in operations
    np.testing.assert_allclose(session.run(None, {"x": x})[0], np.asarray(model(x)), atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_one_operation_from_opset_23_on_unless_it_has_a_mask(masked, tmp_path):
    queries, keys = keras.Input((None, 6), name="queries"), keras.Input((None, 4), name="keys")
    layer = layers.MultiHeadAttention(3, 2, value_dim=5)
    model = randomise(keras.Model([queries, keys], layer(queries, keys, use_causal_mask=masked)))
    batch = {"queries": draw(2, 5, 6), "keys": draw(2, 7, 4)}
    expected = np.asarray(model(list(batch.values())))
    for opset in (22, 23):
        session, operations = converted(model, tmp_path, opset)
        assert operations.count("Attention") == (opset == 23 and not masked)
        np.testing.assert_allclose(session.run(None, batch)[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("equation", "left", "right", "most"),
    [
        ("BTNH,BSNH->BNTS", (4, 2, 3), (5, 2, 3), 3),
        ("BNTS,BSNH->BTNH", (2, 4, 5), (5, 2, 3), 3),
        ("abc,abd->acd", (4, 3), (4, 5), 2),
        ("ab,ac->abc", (4,), (5,), 30),
        ("abc,abc->ab", (4, 3), (4, 3), 30),
    ],
)
def test_products_over_one_index(equation, left, right, most, tmp_path):
    one, other = keras.Input(left, name="one"), keras.Input(right, name="other")
    product = layers.Lambda(lambda given: ops.einsum(equation, *given))
    session, operations = converted(keras.Model([one, other], product([one, other])), tmp_path, 17)
    batch = {"one": draw(2, *left), "other": draw(2, *right, mean=1)}
    expected = np.einsum(equation, *(x.astype("float64") for x in batch.values()))
    np.testing.assert_allclose(session.run(None, batch)[0], expected, atol=1e-5)
    assert len(operations) <= most


@pytest.mark.parametrize(
    ("equation", "shape", "kernel", "most"),
    [
        ("abc,cde->abde", (None, 3), (3, 2, 4), 2),
        ("abcd,cde->abe", (None, 3, 2), (3, 2, 4), 3),
        ("abc,cd->abd", (None, 3), (3, 4), 2),
        ("abc,dc->abd", (None, 3), (4, 3), 30),
    ],
)
def test_dense_layers_with_several_axes_keep_their_dynamic_length(equation, shape, kernel, most, tmp_path):
    weights = draw(*kernel)
    session, operations = converted(around(Function(lambda x: ops.einsum(equation, x, weights)), *shape), tmp_path, 17)
    x = draw(2, 5, *shape[1:])
    expected = np.einsum(equation, x.astype("float64"), weights.astype("float64"))
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, atol=1e-5)
    assert len(operations) <= most
