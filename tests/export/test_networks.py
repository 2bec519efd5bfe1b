"""The networks of every domain give ONNX files that agree with Keras; shallow ones, since depth repeats itself."""

import keras
import numpy as np
import onnxruntime
import pytest

import export
import zoo
from tests.export.models import randomise
from tests.sweep import sweep
from tests.zoo.small_inputs import make_inputs, small_shape

pytestmark = pytest.mark.usefixtures("in_this_process")

# Where `small_shape` is larger than what a proof needs, the input has a shape of its own.
NETWORKS = {
    "airbench94": {"widths": (8, 12, 16)},
    "airbench96": {"widths": (8, 12, 16)},
    "densenet_bc_100_12": {"depth": 10},
    "mc3_18": {"input_shape": (5, 18, 19, 3), "depth": 10},
    "r2plus1d_18": {"input_shape": (5, 18, 19, 3), "depth": 10},
    "resnet3d_10": {"input_shape": (9, 17, 11, 1)},
    "convnext_tiny": {"depths": (1, 1), "widths": (8, 16)},
    "resnet9": {"width": 4},
    "tabular_resnet": {"depth": 2, "width": 8},
    "tabular_highway": {"depth": 2, "width": 8},
    "tabular_densenet": {"depth": 2, "width": 8, "growth_rate": 4},
    "tcn": {"filters": (4, 4, 6), "normalization": "batch", "skip_connections": True, "return_sequences": True},
    "wavenet": {"depth": 3, "filters": 4, "skip_filters": 6},
    "resnet1d_18": {"depth": 10},
    "recurrent_highway": {"input_shape": (8, 1), "units": 5, "depth": 3},
    "recurrent_highway_text": {"input_shape": (8,), "units": 5, "depth": 3},
    "resnext50_32x4d": {"input_shape": (33, 40, 3), "depth": 14},
    "resnetrs50": {"input_shape": (33, 40, 3), "depth": 14},
    "unet": {
        "input_shape": (16, 24, 3),
        "backbone": "wrn_16_2",
        "backbone_arguments": {"depth": 10},
        "skip": "residual",
    },
    "unet3d": {"input_shape": (8, 12, 4, 1), "filters": (4, 6, 8), "skip": "attention"},
    "fc_densenet_56": {"growth_rate": 4},
}
# Their layers are all in other networks here or in test_layers_onnx: r2plus1d_18, for example, has those of mc3_18.
SIMILAR = {"airbench96", "mc3_18", "recurrent_highway", "resnext50_32x4d", "fc_densenet_56"}


@pytest.mark.parametrize("name", sweep(NETWORKS, lambda name: name not in SIMILAR))
def test_a_network_computes_the_same_under_onnxruntime(name, tmp_path):
    model = randomise(zoo.build(name, **{"input_shape": small_shape(name), "classes": 7, **NETWORKS[name]}))
    inputs = make_inputs(model, batch=3)
    path = export.to_onnx(model, tmp_path / "model.onnx", samples=inputs if inputs.dtype.kind == "i" else None)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (inputs, inputs[:1]):
        expected = keras.ops.convert_to_numpy(model(batch, training=False))
        (received,) = session.run(None, {session.get_inputs()[0].name: batch})
        assert received.shape == expected.shape
        assert np.abs(received - expected).max() <= 1e-4 * np.abs(expected).max()
    assert np.abs(expected - expected.mean()).max() > 1e-3, "logits differ"
