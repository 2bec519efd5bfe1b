"""The networks of equal blocks, with each kind of learned skip, give ONNX files that agree with Keras."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import export
import zoo
from tests.export.models import randomise

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.mark.parametrize(
    ("network", "arguments"),
    [
        ("stack_encoder", {"depth": 2, "skip": "hyper", "streams": 3}),
        ("stack_encoder", {"depth": 2, "patch_size": 2, "skip": "depth_attention"}),
        ("stack_convnet", {"depth": 1, "width": 4, "skip": "hyper", "constraint": None}),
        ("stack_convnet", {"depth": 2, "width": 4, "skip": "depth_average"}),
        ("stack_mlp", {"depth": 2, "skip": "hyper", "constraint": "sinkhorn", "streams": 2}),
        ("stack_mlp", {"depth": 2, "skip": None}),
    ],
)
def test_a_stack_computes_the_same_under_onnxruntime(network: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    model = randomise(zoo.build(network, **arguments))
    path = export.to_onnx(model, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for images in (np.random.default_rng(size).normal(size=(size, 8, 8, 1)).astype("float32") for size in (1, 5)):
        expected = np.asarray(model(images))
        (received,) = session.run(None, {session.get_inputs()[0].name: images})
        assert np.abs(received - expected).max() <= 1e-5 * np.abs(expected).max()
        assert expected.std(axis=0).max() > 1e-3 or len(images) == 1, "the images matter"
