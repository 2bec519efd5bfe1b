"""An output that tells how much each highway block carried, the same in every form."""

import json

import keras
import numpy as np
import onnx
import pytest

import export
from export.proof.parity import compare
from export.proof.recording import read_recorded
from export.runtime.processes import run_everywhere
from export.storage.manifest import read_manifest
from keras_skip import HighwayBlock
from tests.export.models import conv_net, highway_net, images, randomise

pytestmark = pytest.mark.usefixtures("in_this_process")


def carried(model, x):
    """The mean carry gates by the layers' own `gates`, which is another way than the exported one."""
    found = []
    for name in ("early", "late"):
        block = model.get_layer(name)
        _, carry = block.gates(keras.Model(model.input, block.input)(x))
        found.append(np.mean(keras.ops.convert_to_numpy(carry), axis=tuple(range(1, len(carry.shape)))))
    return np.stack(found, axis=1)


def test_the_artifact_names_the_layers_and_parity_covers_them(gated):
    about = json.loads((gated / "artifact.json").read_text())
    assert about["gates"] == {"output": "carry", "layers": ["early", "late"]}
    assert [(o["name"], o["shape"]) for o in about["outputs"]] == [("probabilities", [None, 3]), ("carry", [None, 2])]
    _, recorded, _ = read_recorded(gated, about)
    assert {tuple(batch) for batch in recorded.values()} == {("probabilities", "carry")}
    parity = json.loads((gated / "parity.json").read_text())
    compared = [pair for pair in parity["comparisons"] if pair["status"] == "compared"]
    # One decision for each example, that of its class.
    assert {pair["decisions"] + pair["ties"] for pair in compared} == {compared[0]["examples"]}
    export.verify(gated)


def test_the_predictor_tells_what_the_gates_of_the_layers_are(gated):
    model, predictor, x = highway_net(), export.load(gated), images(5, seed=1)
    given = predictor(x)
    np.testing.assert_allclose(given["carry"], carried(model, x.astype("float32") / 255), atol=1e-5)
    assert np.ptp(given["carry"]) > 0.01
    logits = keras.ops.convert_to_numpy(model(x.astype("float32") / 255))
    np.testing.assert_allclose(given["probabilities"], keras.ops.softmax(logits), atol=1e-5)
    assert [label for label, _ in predictor.classify(x)] == [["ant", "bee", "cat"][i] for i in logits.argmax(-1)]


def test_another_carry_is_no_parity(gated, tmp_path):
    model = onnx.load(gated / "model.onnx")
    (last,) = [node for node in model.graph.node if "carry" in node.output]
    last.output[0] = "before"
    model.graph.initializer.append(onnx.helper.make_tensor("half", onnx.TensorProto.FLOAT, [], [0.5]))
    model.graph.node.append(onnx.helper.make_node("Mul", ["before", "half"], ["carry"]))
    onnx.save(model, tmp_path / "model.onnx")
    inputs, expected, tolerance = read_recorded(gated, read_manifest(gated))
    answers, _ = run_everywhere(tmp_path / "model.onnx", inputs, "cpu")
    with pytest.raises(export.ParityError, match="output carry to differ"):
        compare(expected, next(iter(answers.values())), inputs, **tolerance)


def test_without_asking_nothing_changes(tmp_path):
    artifact = export.export(highway_net(), tmp_path / "plain", formats="onnx", batch_sizes=(1,))
    assert "gates" not in artifact.metadata
    assert [output["name"] for output in artifact.metadata["outputs"]] == ["output"]
    assert isinstance(export.load(tmp_path / "plain")(images(1).astype("float32")), np.ndarray)


def test_a_model_without_highway_blocks_has_no_gates(tmp_path):
    with pytest.raises(ValueError, match="Expected a network with highway blocks"):
        export.export(conv_net(), tmp_path / "none", gates=True)
    assert not (tmp_path / "none").exists()


def test_a_name_that_is_taken_is_not_taken_twice_and_a_block_called_twice_tells_twice(tmp_path):
    inputs = keras.Input((4,))
    block = HighwayBlock(name="again")
    model = randomise(keras.Model(inputs, {"carry": block(block(inputs))}))
    artifact = export.export(model, tmp_path / "taken", formats="onnx", gates=True, batch_sizes=(1, 3))
    assert artifact.metadata["gates"] == {"output": "carry_1", "layers": ["again", "again"]}
    assert export.load(tmp_path / "taken")(np.ones((3, 4), "float32"))["carry_1"].shape == (3, 2)


def test_half_precision_and_channels_first_tell_the_same(tmp_path):
    model = highway_net()
    with_half = keras.models.clone_model(model, clone_function=lambda layer: half(layer))
    with_half.set_weights(model.get_weights())
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype("float32")
    options = {"formats": "onnx", "gates": True, "batch_sizes": (1, 2)}
    export.export(with_half, tmp_path / "half", layout="nchw", **options)
    given = export.load(tmp_path / "half")(np.moveaxis(x, -1, 1))
    np.testing.assert_allclose(given["carry"], carried(model, x), atol=1e-5)


def half(layer):
    return type(layer).from_config({**layer.get_config(), "dtype": "mixed_float16"})
