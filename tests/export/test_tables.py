"""Networks for tables give ONNX files that treat missing numbers and unknown categories as Keras does."""

import itertools

import keras
import numpy as np
import onnxruntime
import pytest

import export
import zoo
from tests.sweep import sweep
from zoo.networks.tables.adaptation import adapt

pytestmark = pytest.mark.usefixtures("in_this_process")
# All prepare rows in the same way: each scaling once, with another network.
CASES = itertools.product(zoo.list_models(task="tables"), ("standard", "quantile"))
SHORT = ("tabular_resnet", "standard"), ("tabular_highway", "quantile")


@pytest.mark.parametrize("case", sweep(CASES, SHORT), ids="-".join)
def test_missing_numbers_and_unknown_categories_under_onnxruntime(case, tmp_path):
    name, scaling = case
    options = {"depth": 2, "width": 8, "classes": 3}
    model = zoo.build(name, input_shape=(5,), categories=(3, 12), scaling=scaling, **options)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    rows = np.concatenate([rng.normal(100, 30, (64, 3)), rng.integers(0, [3, 12], (64, 2))], axis=1).astype("float32")
    adapt(model, rows)
    odd = rows[:12].copy()
    odd[0, 0] = odd[1, 1] = odd[2, 2] = odd[3, :3] = np.nan
    odd[4:9, 3] = 3, -1, 1e6, np.nan, 0.6
    odd[6:11, 4] = 12, -1, 1e6, np.nan, np.inf
    odd[11, :3] = -1e6, 0, 1e6
    path = export.to_onnx(model, tmp_path / "model.onnx", samples=rows)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (rows, odd, odd[:1]):
        expected = keras.ops.convert_to_numpy(model(batch, training=False))
        (received,) = session.run(None, {session.get_inputs()[0].name: batch})
        assert np.isfinite(expected).all()
        assert np.abs(received - expected).max() <= 1e-5 * np.abs(expected).max()
