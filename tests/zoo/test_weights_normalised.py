"""Weights that torch's weight_norm splits into lengths and directions: they are read as their product."""

import numpy as np
import pytest

from tests.golden import write
from zoo.weights.readers import read


@pytest.mark.parametrize("names", ["weight_{}", "parametrizations.weight.original{}"])
@pytest.mark.parametrize("axis", [0, 1, None])
def test_weights_that_torch_normalises_are_read_as_their_product(axis, names, tmp_path):
    rng = np.random.default_rng(0)
    v = rng.normal(size=(4, 1, 3)).astype("float32")
    shape = [size if place == axis else 1 for place, size in enumerate(v.shape)]
    g = rng.uniform(0.5, 2, () if axis is None else shape).astype("float32")
    slices = [v] if axis is None else np.moveaxis(v, axis, 0)
    lengths = np.array([np.linalg.norm(part) for part in slices])
    expected = v / lengths.reshape(g.shape) * g
    length, direction = (f"net.0.{names.format(key)}" for key in ("gv" if "_" in names else "01"))
    arrays = {length: g, direction: v, "net.0.bias": v[:, 0, 0].copy(), "weight_g": v}
    found = read(write(arrays, tmp_path / "weights.safetensors"))
    assert found.keys() == {"net.0.weight", "net.0.bias", "weight_g"}
    np.testing.assert_allclose(found["net.0.weight"], expected, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
@pytest.mark.parametrize("is_old", [True, False])
@pytest.mark.parametrize("axis", [0, 1, None])
def test_normalised_weights_are_those_that_torch_computes_with(axis, is_old, tmp_path):
    torch = pytest.importorskip("torch", reason="torch, which normalises the weights, is not installed")
    normalize = torch.nn.utils.weight_norm if is_old else torch.nn.utils.parametrizations.weight_norm
    layer = normalize(torch.nn.Conv1d(3, 5, 4), dim=axis)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    layer(torch.zeros(1, 3, 4))  # the older form computes its weight here
    torch.save(layer.state_dict(), tmp_path / "layer.pth")
    found = read(tmp_path / "layer.pth")
    assert found.keys() == {"weight", "bias"}
    np.testing.assert_allclose(found["weight"], layer.weight.detach().numpy(), rtol=1e-5, atol=1e-6)
