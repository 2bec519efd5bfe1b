"""fp16 and int8: what is written, what is measured, and what is refused."""

import json
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

import export
from export.convert.graph import sort_nodes
from export.precision import fp16, int8, quantisation
from tests.export.models import conv_net, images, mlp, randomise
from tests.export.structure import optimised
from tests.export.test_artifact import contents

RAW = export.Preprocessing("uint8", scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
FASTER = [{"batch": 32, "fp32_ms": 3.0, "int8_ms": 1.5, "speedup": 2.0, "rounds": 5}]
SLOWER = [{"batch": 32, "fp32_ms": 1.5, "int8_ms": 3.0, "speedup": 0.5, "rounds": 5}]

needs_sympy = pytest.mark.skipif(find_spec("sympy") is None, reason="onnxruntime.quantization imports sympy")


def pictures(count: int, seed: int) -> np.ndarray:
    """Noise on a colour that differs from picture to picture, so that the network's decisions do too."""
    generator = np.random.default_rng(seed)
    colours = generator.integers(0, 200, (count, 1, 1, 3))
    return (colours + generator.integers(0, 56, (count, 8, 8, 3))).astype("uint8")


def expected(x: np.ndarray) -> np.ndarray:
    return np.asarray(keras.ops.softmax(conv_net()(RAW.apply(x))))


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


@pytest.mark.parametrize(("share", "sums"), quantisation.IN_FLOAT32)
def test_as_many_of_the_first_layers_as_asked_for_stay_in_float32(tmp_path, share, sums):
    exact = export.export(deep_net(), tmp_path / "a", formats="onnx", samples=images(9).astype("float32")).onnx
    count, layers = fp16.convert_to_fp16(exact, half := tmp_path / "half.onnx", share, sums)
    assert (count, layers) == (max(1, int(13 * share)), 13)
    found, _ = layers_in_float32(half)
    assert found == [True] * count + [False] * (layers - count)
    onnx.checker.check_model(half, full_check=True)
    assert sums_in_float32(half) == ([True] * 11 if sums else [True] * (count - 1) + [False] * (12 - count))
    before, after = (onnx.load(path) for path in (exact, half))
    assert before.graph.input == after.graph.input and before.graph.output == after.graph.output
    x = {"input": images(9).astype("float32") / 255}
    first, second = (onnxruntime.InferenceSession(path).run(None, x) for path in (exact, half))
    for y, z in zip(first, second, strict=True):
        assert 0 < np.max(np.abs(y - z)) <= 5e-3 * np.max(np.abs(y))


@pytest.mark.parametrize(("share", "sums"), quantisation.IN_FLOAT32)
def test_a_simulated_gpu_rounds_every_weight_and_every_result(tmp_path, share, sums):
    exact = export.export(deep_net(), tmp_path / "a", formats="onnx").onnx
    count, layers = fp16.simulate_fp16(exact, simulated := tmp_path / "simulated.onnx", share, sums)
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
    exact = export.export(net, tmp_path / "a", formats="onnx").onnx
    fp16.simulate_fp16(exact, tmp_path / "simulated.onnx")
    batch = {"input": images(9).astype("float32") / 255}
    y, simulated = (
        onnxruntime.InferenceSession(path).run(None, batch)[0] for path in (exact, tmp_path / "simulated.onnx")
    )
    assert np.max(np.abs(simulated - y)) > 0.1 * np.max(np.abs(y))
    with pytest.raises(export.ParityError, match="rounding as on a GPU against Keras"):
        export.export(net, tmp_path / "b", precision="fp16")
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == ["a"]


def test_a_first_layer_that_has_most_of_the_weights_is_in_half_precision_too(tmp_path):
    exact = export.export(mlp(), tmp_path / "a", formats="onnx").onnx
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


@pytest.fixture(scope="module")
def quantised(tmp_path_factory):
    if find_spec("sympy") is None:
        pytest.skip("onnxruntime.quantization imports sympy.")
    path = tmp_path_factory.mktemp("int8") / "a"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantisation, "race", lambda *_: FASTER)
        return to_int8(path, max_accuracy_drop=10)


def to_int8(path: Path, **arguments):
    test = pictures(200, seed=2)
    labels = np.argmax(expected(test), axis=-1)
    assert len(np.unique(labels)) > 1
    given = {"calibration": pictures(64, seed=1), "test": (test, labels)} | arguments
    return export.export(
        conv_net(), path, preprocessing=RAW, activation="softmax", samples=images(9), precision="int8", **given
    )


def test_int8_computes_in_integers_with_a_scale_for_each_channel(quantised):
    operations = [node.op_type for node in optimised(quantised.onnx).node]
    assert "QLinearConv" in operations and "Conv" not in operations
    model = onnx.load(quantised.onnx)
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    (weights,) = [name for name, x in constants.items() if x.dtype == np.int8 and x.ndim == 4]
    (scale,) = [n.input[1] for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] == weights]
    assert constants[scale].shape == (6,) and len(np.unique(constants[scale])) > 1
    # Probabilities are not in steps of 1 / 255.
    assert "Softmax" in operations
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert about["weights_sha256"] == quantised.metadata["weights_sha256"]
    assert quantised.metadata["producer"].startswith("tf2onnx")
    assert quantised.metadata["precision"]["exported"] == "int8"


def test_int8_says_what_it_costs_and_saves(quantised):
    found = json.loads((quantised.path / "parity.json").read_text())["precision"]
    assert found["name"] == "int8" and found["calibration_examples"] == 64
    accuracy = found["accuracy"]
    assert (accuracy["fp32"], accuracy["examples"]) == (1.0, 200)
    decided = np.argmax(export.load(quantised.path).predict(pictures(200, seed=2)), axis=-1)
    labels = np.argmax(expected(pictures(200, seed=2)), axis=-1)
    assert accuracy["int8"] == pytest.approx(np.mean(decided == labels), abs=0.011)
    assert accuracy["drop"] == pytest.approx(100 * (1 - accuracy["int8"])) and accuracy["drop"] <= 10
    assert found["latency"] == FASTER
    assert set(found["bytes"]) == {"fp32", "int8"}
    noise = [layer["signal_to_noise_db"] for layer in found["worst_layers"]]
    assert noise == sorted(noise) and 0 < noise[0] < 60
    assert all(layer["tensor"] and layer["operation"] for layer in found["worst_layers"])


@needs_sympy
def test_int8_is_calibrated_a_few_examples_at_a_time_whatever_the_batches(artifact, tmp_path, monkeypatch):
    ran, reader, x = [], int8._reader, pictures(64, seed=1)

    def noted(batches):
        ran.append([len(batch["input"]) for batch in batches])
        return reader(batches)

    monkeypatch.setattr(int8, "_reader", noted)
    for name, batches in (("whole", [x]), ("parts", [x[:33], x[33:]])):
        int8.quantise_to_int8(
            artifact / "model.onnx", tmp_path / name, [{"input": batch} for batch in batches], "uint8", False
        )
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "parts").read_bytes()
    assert [sum(sizes) for sizes in ran] == [64, 4, 4] * 2 and max(map(max, ran)) == 4


def test_int8_is_verified_against_what_was_measured(quantised):
    record = quantised.parity["comparisons"][0]
    assert record["max_abs_diff"] < record["atol"] < 1
    checked = export.verify(quantised.path)
    assert checked["max_abs_diff"] <= record["atol"]


@needs_sympy
def test_int8_that_costs_too_much_is_not_published(artifact, spoiled):
    before = contents(spoiled)
    # Ranges measured on black images cut off all others.
    black = {"calibration": np.zeros((8, 8, 8, 3), "uint8")}
    with pytest.raises(export.PrecisionError, match=r"at most 0.5 points .* instead of 100.00% on 200 examples"):
        to_int8(spoiled, overwrite=True, **black)
    assert contents(spoiled) == before and list(spoiled.parent.iterdir()) == [spoiled]


@pytest.mark.parametrize(
    ("count", "labels", "drop", "message"),
    [
        (1, [0], 0.5, "at least 200 test inputs to measure a drop of 0.5 points .* Received: 1, .* worth 100 points"),
        (199, [0] * 199, 0.5, "at least 200 test inputs"),
        (199, [0] * 199, 0, "at least 200 test inputs to measure a drop of 0 points"),
        (33, [0] * 33, 3, "at least 34 test inputs"),
        (200, [*[0] * 199, 4], 0.5, "the classes of test inputs from 0 to 3. Received: 0 to 4"),
        (200, [*[0] * 199, -1], 0.5, "the classes of test inputs from 0 to 3. Received: -1 to 0"),
        (99, [0] * 99, -1, "at least 100 test inputs"),
        (200, [0] * 200, 101, "max_accuracy_drop to be between -100 and 100"),
        (200, [0] * 200, float("nan"), "max_accuracy_drop to be between -100 and 100"),
    ],
)
def test_int8_wants_a_test_that_can_tell(count, labels, drop, message, tmp_path):
    test = pictures(count, seed=2), np.array(labels)
    with pytest.raises(ValueError, match=message):
        to_int8(tmp_path / "a", test=test, max_accuracy_drop=drop)


@pytest.mark.parametrize(("count", "drop"), [(200, 0.5), (200, 0), (34, 3), (3, 100 / 3), (1, 100)])
def test_as_many_examples_as_the_drop_takes_are_enough(count, drop):
    quantisation.check_test_data(np.zeros(count, int), count, 4, drop)


@needs_sympy
def test_int8_that_is_not_faster_is_not_published(tmp_path, monkeypatch):
    monkeypatch.setattr(quantisation, "race", lambda *_: SLOWER)
    with pytest.raises(export.PrecisionError, match="3 ms instead of 1.5 ms for a batch of 32, 0.50 times as fast"):
        to_int8(tmp_path / "a", max_accuracy_drop=100)
    assert list(tmp_path.iterdir()) == []


def test_a_race_times_both_on_each_batch(artifact):
    file = artifact / "model.onnx"
    found = quantisation.race(file, file, {"input": images(3)})
    assert [raced["batch"] for raced in found] == [1, 32]
    for raced in found:
        assert raced["rounds"] >= 5 and min(raced["fp32_ms"], raced["int8_ms"], raced["speedup"]) > 0


@pytest.mark.parametrize(
    ("machine", "flags", "activations", "reduce_range"),
    [
        ("x86_64", ["avx2", "avx512_vnni"], "uint8", False),
        ("AMD64", ["avx_vnni"], "uint8", False),
        ("x86_64", ["avx2", "avx512f"], "uint8", True),
        ("aarch64", [], "int8", False),
    ],
)
def test_the_processor_decides_how_numbers_are_quantised(machine, flags, activations, reduce_range):
    chosen = quantisation.choose_settings(machine, flags)
    assert (chosen.activations, chosen.reduce_range) == (activations, reduce_range)


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
            r"each of 3 test inputs.* shape \(2,\)",
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
