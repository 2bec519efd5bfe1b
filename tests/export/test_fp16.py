"""fp16: what is written, what is measured, and what is refused."""

from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

import export
from export.convert.graph import sort_nodes
from export.precision import fp16, fp16_search
from tests.export.models import RAW, conv_net, expected, images, mlp, randomise

pytestmark = pytest.mark.usefixtures("in_this_process")


def test_half_precision_is_near_and_keeps_the_types_at_its_edge(tmp_path):
    made = export.export(
        conv_net(), tmp_path / "a", preprocessing=RAW, activation="softmax", samples=images(9), precision="fp16"
    )
    assert {p.name for p in made.path.iterdir()} == {"artifact.json", "parity.json", "samples.npz", "model.onnx"}
    assert made.metadata["precision"] == {"exported": "float16", "trained": "float32"}
    assert made.metadata["inputs"][0]["dtype"] == "uint8" and made.metadata["outputs"][0]["dtype"] == "float32"
    kinds = {i.data_type for i in onnx.load(made.onnx).graph.initializer if len(i.dims) == 4}
    assert kinds == {onnx.TensorProto.FLOAT16}
    for record in made.parity["comparisons"]:
        if record["status"] == "compared":
            assert record["agreement"] == 0.99 and 0 < record["share"] <= 1
            before = record["candidate"].endswith("before its activation")
            assert 0 < record["max_abs_diff"] <= (0.1 if before else 5e-3 + 1e-5)
    assert (made.parity["tolerance"]["atol"], made.parity["tolerance"]["rtol"]) == (5e-3, 2.5e-3)
    assert made.parity["precision"]["name"] == "fp16"
    assert export.verify(made.path)["argmax_agreement"] >= 0.99
    np.testing.assert_allclose(export.load(made.path)(images(5)), expected(images(5)), atol=5e-3)


def deep_net() -> keras.Model:
    """Twelve convolutions with a skip around all but the first, two outputs, and one constant in several places."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, padding="same")(inputs)
    for i in range(11):
        residual = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name=f"residual{i}")(x)
        x = keras.layers.Add()([x, residual * 0.2])
    pooled = keras.layers.GlobalAveragePooling2D(name="pooled")(x)
    return randomise(keras.Model(inputs, {"pooled": pooled, "logits": keras.layers.Dense(3, name="logits")(pooled)}))


def layers_in_float32(path: Path) -> tuple[list[bool], set[int]]:
    """Of each layer with weights, in order, whether they are in float32; and the types of all constants."""
    graph = onnx.load(path).graph
    kinds = {i.name: i.data_type for i in graph.initializer}
    layers = [node for node in graph.node if node.op_type in ("Conv", "MatMul", "Gemm")]
    return [kinds[node.input[1]] == onnx.TensorProto.FLOAT for node in layers], set(kinds.values())


def sums_in_float32(path: Path) -> list[bool]:
    """Of each addition of two results, in order, whether it is in float32."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    constants = {i.name for i in graph.initializer}
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    sums = [node for node in graph.node if node.op_type == "Add" and not constants.intersection(node.input)]
    return [kinds[node.output[0]] == onnx.TensorProto.FLOAT for node in sums]


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The deep network in fp32."""
    return export.to_onnx(deep_net(), tmp_path_factory.mktemp("deep") / "exact.onnx")


@pytest.mark.parametrize(("share", "sums"), fp16_search.IN_FLOAT32)
def test_as_many_of_the_first_layers_as_asked_for_stay_in_float32(deep, tmp_path, share, sums):
    count, layers = fp16.convert_to_fp16(deep, half := tmp_path / "half.onnx", share, sums)
    assert (count, layers) == (max(1, int(13 * share)), 13)
    found, _ = layers_in_float32(half)
    assert found == [True] * count + [False] * (layers - count)
    onnx.checker.check_model(half, full_check=True)
    assert sums_in_float32(half) == ([True] * 11 if sums else [True] * (count - 1) + [False] * (12 - count))
    before, after = (onnx.load(path) for path in (deep, half))
    assert before.graph.input == after.graph.input and before.graph.output == after.graph.output
    x = {"input": images(9).astype("float32") / 255}
    first, second = (onnxruntime.InferenceSession(path).run(None, x) for path in (deep, half))
    for y, z in zip(first, second, strict=True):
        assert 0 < np.max(np.abs(y - z)) <= 5e-3 * np.max(np.abs(y))


@pytest.mark.parametrize(("share", "sums"), fp16_search.IN_FLOAT32)
def test_a_simulated_gpu_rounds_every_weight_and_every_result(deep, tmp_path, share, sums):
    count, layers = fp16.simulate_fp16(deep, simulated := tmp_path / "simulated.onnx", share, sums)
    assert (count, layers) == (max(1, int(13 * share)), 13)
    onnx.checker.check_model(simulated, full_check=True)
    graph = onnx.load(simulated).graph
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer if i.data_type == 1}
    exactly = {name for name in constants if name.endswith("__float32")}
    for name in constants.keys() - exactly:
        np.testing.assert_array_equal(constants[name], constants[name].astype("float16"), err_msg=name)
    assert exactly
    # Every tensor that this graph computes with, tapped: whatever the later layers take has been rounded.
    later = [n for n in graph.node if n.op_type in ("Conv", "MatMul", "Gemm")][count:]
    taken = [name for node in later for name in node.input if name not in constants]
    tapped = onnx.load(simulated)
    tapped.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in {*taken})
    x = {"input": images(9).astype("float32") / 255}
    for name, values in zip(taken, onnxruntime.InferenceSession(tapped.SerializeToString()).run(taken, x), strict=True):
        np.testing.assert_array_equal(values, values.astype("float16"), err_msg=name)


def test_what_a_gpu_would_round_away_counts_where_there_is_none(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, padding="same")(inputs)
    x = keras.layers.Conv2D(8, 3, padding="same")(x)
    # In fp16 there is nothing between 4096 and 4100; a CPU that adds in float32 does not notice.
    x = keras.layers.ReLU()(keras.layers.Rescaling(1.0, offset=4096.0)(x))
    x = keras.layers.Rescaling(1.0, offset=-4096.0)(x)
    net = randomise(keras.Model(inputs, keras.layers.Conv2D(3, 8)(x)))
    exact = export.to_onnx(net, tmp_path / "exact.onnx")
    fp16.simulate_fp16(exact, tmp_path / "simulated.onnx")
    batch = {"input": images(9).astype("float32") / 255}
    y, simulated = (
        onnxruntime.InferenceSession(path).run(None, batch)[0] for path in (exact, tmp_path / "simulated.onnx")
    )
    assert np.max(np.abs(simulated - y)) > 0.1 * np.max(np.abs(y))
    with pytest.raises(export.ParityError, match="rounding as on a GPU against Keras"):
        export.export(net, tmp_path / "b", precision="fp16")
    assert not [p for p in tmp_path.iterdir() if p.is_dir()]


def test_a_first_layer_that_has_most_of_the_weights_is_in_half_precision_too(tmp_path):
    exact = export.to_onnx(mlp(), tmp_path / "exact.onnx")
    for share in (0.0, 0.25):
        # A quarter of two layers is none.
        assert fp16.convert_to_fp16(exact, half := tmp_path / "half.onnx", share) == (0, 2)
    assert layers_in_float32(half) == ([False, False], {onnx.TensorProto.FLOAT16})


def cancelling_net(count: int = 12) -> keras.Model:
    """The third layer takes away what the second has added, and fp16 rounds both; the rest is well behaved."""
    net = randomise(
        keras.Sequential([keras.Input((6,)), *(keras.layers.Dense(8, "tanh", name=f"d{i}") for i in range(count))])
    )
    for layer, kernel, bias in ((net.layers[1], np.eye(8), 4001.0), (net.layers[2], 0.3 * np.eye(8), -1200.3)):
        layer.activation = keras.activations.linear
        layer.set_weights([kernel.astype("float32"), np.full(8, bias, "float32")])
    for layer in net.layers[3:]:
        # What comes in is to arrive at the end.
        layer.set_weights([1.5 * np.linalg.qr(layer.kernel.numpy())[0], 0.1 * layer.bias.numpy()])
    return net


def test_half_precision_that_is_not_near_enough_leaves_more_layers_in_float32(tmp_path):
    made = export.export(cancelling_net(), tmp_path / "a", precision="fp16")
    found = made.parity["precision"]
    assert (found["float32_layers"], found["layers"], found["float32_sums"]) == (3, 12, False)
    assert layers_in_float32(made.onnx)[0] == [True] * 3 + [False] * 9
    assert made.parity["precision"]["bytes"]["fp16"] == made.onnx.stat().st_size
    assert export.verify(made.path)["max_rel_diff"] <= 5e-3
    with pytest.raises(export.ParityError, match="differ by at most"):
        export.export(deep_net(), tmp_path / "b", precision="fp16", atol=1e-6, rtol=0.0)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_sums_to_which_every_block_adds_little_stay_in_float32(tmp_path):
    inputs = x = keras.Input((8,))
    for _ in range(64):
        # Less than half of what is between two numbers of fp16: rounded, it would add nothing.
        x = keras.layers.Add()([x, keras.layers.Dense(8, use_bias=False)(x)])
    net = keras.Model(inputs, x)
    net.set_weights([2.4e-4 * np.eye(8)] * 64)
    made = export.export(net, tmp_path / "a", precision="fp16")
    found = made.parity["precision"]
    assert (found["float32_layers"], found["layers"], found["float32_sums"]) == (32, 64, True)
    assert export.verify(made.path)["max_rel_diff"] <= 1e-3


def test_what_half_precision_cannot_hold_is_not_published(tmp_path):
    model = mlp()
    model.layers[-1].kernel.assign(model.layers[-1].kernel * 1e6)
    with pytest.raises(export.ParityError, match="against Keras"):
        export.export(model, tmp_path / "a", precision="fp16")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precision": "fp8"}, "Expected precision to be one of .* Received: precision='fp8'"),
        ({"precision": "fp16", "formats": "saved_model"}, "formats=\"onnx\" for precision='fp16'"),
        ({"precision": "int8"}, "Received: no calibration= and no test="),
        ({"precision": "int8", "samples": np.ones((3, 6), "float32")}, "Received: no test="),
        ({"precision": "int8", "test": (np.ones((3, 6), "float32"), [0, 1, 2])}, "Received: no calibration=$"),
        (
            {"precision": "int8", "samples": np.ones((3, 6), "float32"), "test": (np.ones((3, 6), "float32"), [0, 1])},
            r"for each of 3 test inputs.* shape \(2,\)",
        ),
    ],
)
def test_arguments_that_do_not_fit_a_precision_are_refused(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export.export(mlp(), tmp_path / "a", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_nodes_are_sorted_and_otherwise_stay_in_order():
    def node(name, *inputs):
        return onnx.helper.make_node("Relu", inputs, [name], name=name)

    graph = onnx.helper.make_graph([node("c", "b"), node("a", "x"), node("d", "a"), node("b", "a")], "g", [], [])
    sort_nodes(graph)
    assert [n.name for n in graph.node] == ["a", "b", "c", "d"]
