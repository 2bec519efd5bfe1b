"""int8_dynamic and int4: what is written, what it costs, and what is refused."""

import json

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from keras import layers

import export
from export.precision import quantisation
from export.precision.quantisation import choose_settings
from export.precision.weights import pack_int4, quantise_dynamically, quantise_to_int4
from tests.export.models import conv_net, images
from tests.export.test_int8 import SLOWER, needs_sympy

FASTER = [{"batch": b, "fp32_ms": 3.0, "int8_dynamic_ms": 1.5, "speedup": 2.0, "rounds": 5} for b in (1, 32)]


@pytest.fixture(scope="module")
def transformer():
    """A transformer that has learned to tell digits, rows being its tokens, and digits that it has not seen."""
    from sklearn.datasets import load_digits

    keras.utils.set_random_seed(0)
    x, y = load_digits(return_X_y=True)
    x = (x.reshape(-1, 8, 8) / 16).astype("float32")
    inputs = keras.Input((8, 8))
    h = layers.Dense(32)(inputs)
    for _ in range(2):
        n = layers.LayerNormalization()(h)
        h = h + layers.MultiHeadAttention(2, 16)(n, n)
        h = h + layers.Dense(32)(layers.Dense(64, "gelu")(layers.LayerNormalization()(h)))
    model = keras.Model(inputs, layers.Dense(10)(layers.Flatten()(h)))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x[:1200], y[:1200], batch_size=32, epochs=4, verbose=0)
    return model, x[1200:], y[1200:]


def quantised(transformer, path, precision, **options):
    model, x, y = transformer
    given = {"activation": "softmax", "samples": x[:8], "max_accuracy_drop": 2, "device": "cpu", **options}
    return export.export(model, path, precision=precision, test=(x, y), **given)


def count_operations(file):
    graph = onnx.load(file).graph
    return [node.op_type for node in graph.node]


def test_four_bits_hold_the_nearest_of_sixteen_values():
    weights = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
    weights[32:, 1] = 0
    packed, scales = pack_int4(weights)
    assert (packed.shape, packed.dtype, scales.shape) == ((3, 2, 16), np.uint8, (3, 2))
    for column in range(3):
        for block, rows in enumerate((weights[:32, column], weights[32:, column])):
            numbers = np.stack([packed[column, block] & 15, packed[column, block] >> 4], -1).ravel().astype(int) - 8
            allowed = scales[column, block] * np.arange(-8, 8)
            nearest = np.abs(rows[:, None] - allowed).min(axis=1)
            received = scales[column, block] * numbers[: len(rows)]
            np.testing.assert_allclose(np.abs(rows - received), nearest, atol=1e-6)
            # The largest is one of the sixteen.
            assert received[np.abs(rows).argmax()] == pytest.approx(rows[np.abs(rows).argmax()])


@pytest.mark.parametrize("operation", ["MatMul", "Gemm", "transposed"])
def test_onnxruntime_reads_the_four_bits_as_they_are_meant(operation, tmp_path):
    generator = np.random.default_rng(1)
    # Every weight is one of the sixteen values, so nothing may be lost.
    weights = generator.integers(-8, 8, (64, 5)).astype("float32")
    weights[::32] = -8
    x, bias = generator.normal(size=(3, 64)).astype("float32"), generator.normal(size=5).astype("float32")
    tensors = {"w": weights.T.copy() if operation == "transposed" else weights, "b": bias}
    plain = operation == "MatMul"
    options = {"transB": 1} if operation == "transposed" else {}
    node = onnx.helper.make_node(
        "MatMul" if plain else "Gemm", ["x", "w"] if plain else ["x", "w", "b"], ["y"], **options
    )
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node],
        "dense",
        [value("x", 1, [None, 64])],
        [value("y", 1, [None, 5])],
        [onnx.numpy_helper.from_array(tensors[name], name) for name in node.input[1:]],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "a.onnx")
    quantise_to_int4(tmp_path / "a.onnx", tmp_path / "b.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "b.onnx", providers=["CPUExecutionProvider"])
    assert "MatMulNBits" in count_operations(tmp_path / "b.onnx")
    np.testing.assert_allclose(session.run(None, {"x": x})[0], x @ weights + (0 if plain else bias), atol=1e-4)


def write_graph(path, nodes, **weights):
    value = onnx.helper.make_tensor_value_info
    constants = [onnx.numpy_helper.from_array(x, name) for name, x in weights.items()]
    graph = onnx.helper.make_graph(nodes, "g", [value("x", 1, [2, 3, 64, 64])], [value("y", 1, None)], constants)
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), path)


@pytest.mark.parametrize("options", [{"transA": 1}, {"alpha": 2.0}, {"beta": 0.5}, None], ids=str)
def test_products_of_another_kind_stay_as_they_are(options, tmp_path):
    rest = ("MatMul", ["x", "w"]) if options is None else ("Gemm", ["x", "w", "b"])
    weights = np.ones((3, 64, 5) if options is None else (64, 5), "float32")
    node = onnx.helper.make_node(*rest, ["y"], **options or {})
    write_graph(tmp_path / "a.onnx", [node], w=weights, b=np.ones(5, "float32"))
    with pytest.raises(export.ExportError, match="Expected a dense layer for precision='int4'"):
        quantise_to_int4(tmp_path / "a.onnx", tmp_path / "b.onnx")


@needs_sympy
def test_int8_dynamic_has_a_scale_for_each_column_and_leaves_convolutions_alone(tmp_path):
    generator = np.random.default_rng(0)
    kernel = generator.normal(size=(3, 3, 1, 1)).astype("float32")
    weights = (generator.normal(size=(64, 3)) * [1e-3, 1, 1e3]).astype("float32")
    nodes = [onnx.helper.make_node("Conv", ["x", "k"], ["c"]), onnx.helper.make_node("MatMul", ["c", "w"], ["y"])]
    write_graph(tmp_path / "a.onnx", nodes, k=kernel, w=weights)
    quantise_dynamically(tmp_path / "a.onnx", tmp_path / "b.onnx", choose_settings().reduce_range)
    operations = count_operations(tmp_path / "b.onnx")
    assert ("Conv" in operations, "ConvInteger" in operations, "MatMulInteger" in operations) == (True, False, True)
    x = generator.normal(size=(2, 3, 64, 64)).astype("float32")
    session = onnxruntime.InferenceSession(tmp_path / "b.onnx", providers=["CPUExecutionProvider"])
    expected = np.einsum("ncij,dc,jk->ndik", x, kernel[..., 0, 0], weights)
    error = np.abs(session.run(None, {"x": x})[0] - expected).max(axis=(0, 1, 2))
    assert (error > 0).all() and (error < 0.05 * np.abs(expected).max(axis=(0, 1, 2))).all()


@needs_sympy
@pytest.mark.parametrize(("reduce_range", "largest"), [(True, 64), (False, 127)])
def test_int8_dynamic_gives_weights_the_bits_that_the_processor_adds_without_overflow(reduce_range, largest, tmp_path):
    weights = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    write_graph(tmp_path / "a.onnx", [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], w=weights)
    quantise_dynamically(tmp_path / "a.onnx", tmp_path / "b.onnx", reduce_range)
    tensors = [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(tmp_path / "b.onnx").graph.initializer]
    (quantised,) = (tensor for tensor in tensors if tensor.dtype == np.int8 and tensor.ndim == 2)
    assert np.abs(quantised.astype(int)).max() == largest


def test_int4_makes_a_transformer_smaller_at_a_measured_accuracy(transformer, tmp_path):
    model, x, y = transformer
    artifact = quantised(transformer, tmp_path / "a", "int4")
    found = json.loads((artifact.path / "parity.json").read_text())["precision"]
    assert (
        count_operations(artifact.onnx).count("MatMulNBits") == 14
        and found["bytes"]["int4"] < 0.5 * found["bytes"]["fp32"]
    )
    predictor = export.load(artifact.path)
    accuracy = np.mean(predictor.predict(x).argmax(-1) == y)
    assert found["accuracy"]["int4"] == pytest.approx(accuracy, abs=1e-9)
    assert found["accuracy"]["fp32"] == pytest.approx(
        np.mean(np.argmax(model.predict(x, verbose=0), -1) == y), abs=0.002
    )
    assert accuracy > found["accuracy"]["fp32"] - 0.02 > 0.8
    assert (artifact.metadata["precision"]["exported"], artifact.metadata["batchable"]) == ("int4", True)
    assert export.verify(artifact.path, device="cpu")["weak"] == {}
    # An example has the same answer in any batch.
    np.testing.assert_allclose(predictor.predict(x[:5], batch_size=1), predictor.predict(x[:5]), atol=1e-5)


@needs_sympy
def test_int8_dynamic_computes_in_integers_without_calibration(transformer, tmp_path, monkeypatch):
    monkeypatch.setattr(quantisation, "race", lambda *_: FASTER)
    _, x, y = transformer
    artifact = quantised(transformer, tmp_path / "a", "int8_dynamic", samples=None)
    operations = count_operations(artifact.onnx)
    assert "MatMulInteger" in operations and "DynamicQuantizeLinear" in operations
    found = json.loads((artifact.path / "parity.json").read_text())["precision"]
    assert found["accuracy"]["int8_dynamic"] > 0.8 and "calibration_examples" not in found
    assert found["settings"]["reduce_range"] is choose_settings().reduce_range
    # The range of a batch decides how each example is rounded.
    assert artifact.metadata["batchable"] is False
    assert artifact.metadata["precision"]["exported"] == "int8"
    assert "depends on" in export.verify(artifact.path, device="cpu")["not_batched"]


@needs_sympy
def test_int8_dynamic_must_be_faster_for_a_single_example(transformer, tmp_path, monkeypatch):
    times = [{"batch": 1, "fp32_ms": 1.0, "int8_dynamic_ms": 2.0, "speedup": 0.5, "rounds": 5}, FASTER[1]]
    monkeypatch.setattr(quantisation, "race", lambda *_: times)
    with pytest.raises(export.PrecisionError, match="2 ms instead of 1 ms for a batch of 1, 0.50 times as fast"):
        quantised(transformer, tmp_path / "a", "int8_dynamic")
    assert list(tmp_path.iterdir()) == []


def test_int4_may_be_slower_but_not_less_accurate(transformer, tmp_path, monkeypatch):
    monkeypatch.setattr(quantisation, "race", lambda *_: SLOWER)
    quantised(transformer, tmp_path / "a", "int4")
    monkeypatch.setattr(quantisation, "_measure_accuracy", lambda file, *_: 0.5 if ".keras-skip" in str(file) else 1.0)
    with pytest.raises(export.PrecisionError, match="Expected int4 to cost at most 2 points .* Received: 50.00 points"):
        quantised(transformer, tmp_path / "b", "int4")
    assert not (tmp_path / "b").exists()


def test_networks_without_dense_layers_or_that_int4_cannot_shrink_are_refused(tmp_path):
    x = images(200)
    given = {"test": (x, np.arange(200) % 4), "max_accuracy_drop": 100, "device": "cpu"}
    raw = export.Preprocessing("uint8", scale=1 / 255)
    no_dense = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(128, 3), layers.Conv2D(32, 3), layers.GlobalAveragePooling2D()]
    )
    for precision in ("int4", "int8_dynamic"):
        with pytest.raises(export.ExportError, match=f"Expected a dense layer for precision='{precision}'"):
            export.export(no_dense, tmp_path / "a", precision=precision, preprocessing=raw, **given)
    few = keras.Sequential([keras.Input((8, 8, 3)), *no_dense.layers, layers.Dense(4)])
    with pytest.raises(export.PrecisionError, match="at most 90% of the bytes of fp32. Received: .* only dense layers"):
        export.export(few, tmp_path / "a", precision="int4", preprocessing=raw, **given)
    with pytest.raises(ValueError, match="Expected test= with labels for precision='int4'. Received: no test="):
        export.export(conv_net(), tmp_path / "a", precision="int4", preprocessing=raw)
    assert list(tmp_path.iterdir()) == []
