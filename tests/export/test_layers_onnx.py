"""Every layer of the table under onnxruntime: within 1e-4 of the largest output, on two batch sizes."""

from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest

import export
from tests.export.models import randomise
from tests.layers.table import CASES, REPRESENTATIVES, Case, ids, public_classes


def differences(layer: keras.layers.Layer, shape: tuple, inputs: list[np.ndarray], path: Path) -> list[float]:
    symbolic = keras.Input(shape)
    model = randomise(keras.Model(symbolic, layer(symbolic)))
    session = onnxruntime.InferenceSession(export.to_onnx(model, path), providers=["CPUExecutionProvider"])
    results = []
    for x in inputs:
        expected = np.asarray(model(x, training=False))
        received = session.run(["output"], {"input": x})[0]
        assert received.shape == expected.shape
        assert np.ptp(expected) > 0
        results.append(float(np.max(np.abs(received - expected)) / np.max(np.abs(expected))))
    return results


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_every_layer_computes_the_same_under_onnxruntime(case: Case, tmp_path: Path):
    inputs = [case.data(2), case.data(5, seed=1)]
    assert max(differences(case.make(), case.shape()[1:], inputs, tmp_path / "layer.onnx")) <= 1e-4


@pytest.mark.parametrize(
    "case", [c for c in REPRESENTATIVES if c.takes_data_format and "shortcut" not in c.kwargs], ids=ids
)
def test_channels_first_computes_the_same_under_onnxruntime(case: Case, tmp_path: Path):
    inputs = [case.data(2, "channels_first"), case.data(5, "channels_first", seed=1)]
    layer = case.make(data_format="channels_first")
    shape = case.shape(data_format="channels_first")[1:]
    assert max(differences(layer, shape, inputs, tmp_path / "layer.onnx")) <= 1e-4


@pytest.mark.parametrize("case", [c for c in REPRESENTATIVES if c.rank], ids=ids)
def test_dynamic_sizes_compute_the_same_under_onnxruntime(case: Case, tmp_path: Path):
    small, large = case.data(2), case.data(3, seed=1)
    large = np.concatenate([large, large[:, ::-1]], axis=1)
    shape = (*[None] * case.rank, case.shape()[-1])
    assert max(differences(case.make(), shape, [small, large], tmp_path / "layer.onnx")) <= 1e-4


def test_the_table_holds_every_public_layer():
    assert {case.cls for case in CASES} == set(public_classes())
