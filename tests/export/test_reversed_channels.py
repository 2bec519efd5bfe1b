"""Networks that take BGR: the exported graph reverses the channels in every precision, as keras.applications does."""

import json

import numpy as np
import onnx
import pytest
from keras import ops
from keras.applications.resnet import preprocess_input

import export
from export.precision import quantisation
from tests.export.models import conv_net, images
from tests.export.test_int8 import FASTER, needs_sympy, pictures

pytestmark = pytest.mark.usefixtures("in_this_process")

CAFFE = {"mean": (103.939, 116.779, 123.68), "reverse_channels": True}


def network():
    """Weights that take pixels of 255, and would notice channels in another order."""
    model = conv_net()
    kernel, *others = model.get_weights()
    model.set_weights([kernel / 100 * np.float32([1, 4, 9])[:, None], *others])
    return model


def keras_says(x):
    return np.asarray(ops.softmax(network()(preprocess_input(x.astype("float32")))))


def write(path, **options):
    given = {"preprocessing": export.Preprocessing("uint8", **CAFFE), "activation": "softmax", "samples": images(20)}
    return export.export(network(), path, device="cpu", **{**given, **options})


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_the_graph_reverses_the_channels(layout, tmp_path):
    first = layout == "nchw"
    raw = export.Preprocessing("uint8", **CAFFE, channel_axis=1 if first else -1)
    x = np.moveaxis(images(20), -1, 1) if first else images(20)
    artifact = write(tmp_path / "a", layout=layout, preprocessing=raw, samples=x)
    assert artifact.saved_model.is_dir()
    found = export.load(artifact.path)(x)
    np.testing.assert_allclose(found, keras_says(images(20)), atol=1e-5)
    assert np.abs(found - keras_says(images(20)[..., ::-1])).max() > 0.01, "the order is seen"
    written = json.loads((tmp_path / "a" / "artifact.json").read_text())["preprocessing"]
    assert written["reverse_channels"] is True
    assert export.verify(artifact.path, device="cpu")["max_abs_diff"] < 1e-5


def test_half_precision_reverses_them_too(tmp_path):
    artifact = write(tmp_path / "a", precision="fp16")
    np.testing.assert_allclose(export.load(artifact.path)(images(20)), keras_says(images(20)), atol=5e-3)


@needs_sympy
def test_int8_reverses_them_too(tmp_path, monkeypatch):
    monkeypatch.setattr(quantisation, "race", lambda *_: FASTER)
    test = pictures(200, seed=2)
    labels = keras_says(test).argmax(-1)
    given = {"precision": "int8", "calibration": pictures(64, seed=1), "test": (test, labels), "max_accuracy_drop": 10}
    artifact = write(tmp_path / "a", **given)
    agreed = np.mean(export.load(artifact.path)(test).argmax(-1) == labels)
    assert agreed > 0.9 and len(np.unique(labels)) > 1
    assert any("Slice" in node.op_type or "Reverse" in node.op_type for node in onnx.load(artifact.onnx).graph.node)
