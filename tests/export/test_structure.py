"""What is in the graph: nothing that could have been avoided, or is not allowed, and what it says of itself."""

import json

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

import export
import zoo
from export.convert.operation_counts import check_operations, count_operations
from tests.export.models import conv_net, randomise
from tests.export.structure import left_over, optimised

pytestmark = pytest.mark.usefixtures("in_this_process")

layers = keras.layers


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet20", {"depth": 8, "input_shape": (12, 16, 3)}),
        ("stochastic_resnet110", {"depth": 8, "input_shape": (12, 16, 3)}),
        ("preact_resnet164", {"depth": 11, "input_shape": (12, 16, 3)}),
        ("wrn_16_4", {"depth": 10, "input_shape": (12, 16, 3)}),
        ("densenet_bc_100_12", {"depth": 10, "input_shape": (12, 16, 3)}),
        ("highway_mnist_16", {}),
        ("residual_mlp", {}),
        ("resnet18", {"input_shape": (33, 40, 3), "classes": 5}),
    ],
)
def test_a_network_of_each_family_keeps_one_transpose_and_nothing_else(name, arguments, tmp_path):
    raw = {"dtype": "uint8", "scale": 1 / 255, "mean": 0.5, "std": 0.2}
    model = randomise(zoo.build(name, **arguments))
    path = export.to_onnx(model, tmp_path / "m.onnx", preprocessing=raw, activation="softmax")
    assert left_over(path) == []
    onnx.checker.check_model(str(path), full_check=True)


def test_a_dense_layer_after_a_map_takes_the_map_as_it_is(tmp_path):
    inputs = keras.Input((6, 5, 3))
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    model = randomise(keras.Model(inputs, layers.Dense(7)(layers.Flatten()(x))))
    path = export.to_onnx(model, tmp_path / "m.onnx", layout="nchw")
    assert [n.op_type for n in onnx.load(path).graph.node] == ["Conv", "Relu", "Reshape", "MatMul", "Add"]
    x = np.random.default_rng(0).normal(size=(3, 6, 5, 3)).astype("float32")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"input": np.moveaxis(x, -1, 1)})[0], model(x), rtol=1e-4, atol=1e-4)


def test_gelu_is_what_onnxruntime_knows_it_by(tmp_path):
    inputs = keras.Input((6,))
    net = keras.Model(inputs, layers.Dense(3)(layers.Activation("gelu")(inputs)))
    path = export.to_onnx(randomise(net), tmp_path / "m.onnx")
    assert [node.op_type for node in optimised(path).node] == ["Gelu", "Gemm"]


def test_a_leftover_is_found(tmp_path):
    inputs = keras.Input((6, 5, 3))
    x = layers.LayerNormalization()(layers.Conv2D(4, 3)(inputs))
    found = left_over(export.to_onnx(keras.Model(inputs, x), tmp_path / "n.onnx"), 0)
    assert any(name.startswith("Transpose") for name in found)


def test_operations_are_counted_recorded_and_checked(artifact):
    about = json.loads((artifact / "artifact.json").read_text())
    assert about["operations"] == count_operations(onnx.load(artifact / "model.onnx"))
    assert about["operations"]["ai.onnx"]["Conv"] == 1 and set(about["operations"]) == {"ai.onnx"}
    with pytest.raises(export.ExportError, match="Received: my.domain.Magic, RandomNormal"):
        check_operations({"ai.onnx": {"Conv": 1, "RandomNormal": 1}, "my.domain": {"Magic": 2}})


def test_the_file_says_what_it_is(artifact, tmp_path):
    model = onnx.load(artifact / "model.onnx")
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert model.ir_version == 8 and about["producer"].startswith("keras-skip, tf2onnx ")
    assert "None" not in about["producer"]
    assert json.loads(about["labels"]) == ["ant", "bee", "cat", "dog"]
    assert json.loads(about["preprocessing"])["std"] == [0.2, 0.3, 0.4]
    manifest = json.loads((artifact / "artifact.json").read_text())
    assert about["weights_sha256"] == manifest["weights_sha256"]

    def hash_of(model):
        path = export.to_onnx(model, tmp_path / "m.onnx", overwrite=True)
        return {entry.key: entry.value for entry in onnx.load(path).metadata_props}["weights_sha256"]

    assert hash_of(conv_net()) == about["weights_sha256"] != hash_of(randomise(conv_net(), seed=1))
