"""A network that averages over views of an image is exported as one graph, in which the network stands once."""

import json

import keras
import numpy as np
import onnx
import pytest

import export
import zoo
from tests.export.models import conv_net, images, randomise

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.mark.parametrize(("views", "size"), [("mirror", 8), ("shift", 8), ("mirror+shift", None)])
def test_the_graph_agrees_with_keras_and_holds_the_network_once(views, size, tmp_path):
    network = randomise(conv_net(size))
    path = export.to_onnx(zoo.tta_model(network, views), tmp_path / "model.onnx", samples=images(3).astype("float32"))
    graph = onnx.load(path).graph
    convolutions = sum(isinstance(layer, keras.layers.Conv2D) for layer in network._flatten_layers())
    assert sum(node.op_type == "Conv" for node in graph.node) == convolutions > 0
    assert [tensor.name for tensor in graph.input] == ["input"]


def test_artifact_can_be_served_in_batches_and_takes_raw_pixels(tmp_path):
    network = randomise(conv_net())
    artifact = export.export(
        zoo.tta_model(network),
        tmp_path / "artifact",
        preprocessing=export.Preprocessing("uint8", scale=1 / 255, mean=[0.5] * 3, std=[0.25] * 3),
        activation="softmax",
        formats=["onnx"],
    )
    assert json.loads((artifact.path / "artifact.json").read_text())["batchable"] is True
    pixels = images(5)
    received = export.load(artifact.path)(pixels)
    x = (pixels.astype("float32") / 255 - 0.5) / 0.25
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    shifts = ((x, 0.5), (padded[:, :-2, :-2], 0.25), (padded[:, 2:, 2:], 0.25))
    looks = [(view, weight / 2) for shift, weight in shifts for view in (shift, shift[:, :, ::-1])]
    logits = sum(weight * np.asarray(network(view)) for view, weight in looks)
    np.testing.assert_allclose(received, keras.ops.softmax(logits), atol=1e-5)
