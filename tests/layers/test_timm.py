"""The parts beside those of timm, from the same weights and the same draws."""

import numpy as np
import pytest
from keras import ops

import keras_skip as ks
from tests.layers.test_contracts import random_state
from tests.layers.test_equations import built, data

torch = pytest.importorskip("torch", reason="torch, which timm needs, is not installed")
timm = pytest.importorskip("timm.layers", reason="timm is not installed")


def numpy(x):
    return np.array(ops.convert_to_numpy(x))


def run(module, x):
    """The output of timm's module, which has the channels first, for an input that has them last."""
    with torch.no_grad():
        y = module(torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1), dtype="float32")))
    return np.moveaxis(y.numpy(), 1, -1)


def load(module, **weights):
    module.load_state_dict({name.replace("__", "."): torch.tensor(value) for name, value in weights.items()})
    return module.eval()


def compare(layer, module, x):
    expected = run(module, x)
    received = numpy(layer(x.astype("float32")))
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_drop_path_trains_and_predicts_as_timms(rank, rate, monkeypatch):
    x = np.random.default_rng(0).normal(size=(32, *(3, 2, 2)[:rank], 4)).astype("float32")
    layer, module = ks.DropPath(rate, seed=1), timm.DropPath(rate)
    y = numpy(layer(x, training=True))
    mask = torch.from_numpy(np.any(y != 0, axis=tuple(range(1, y.ndim)), keepdims=True).astype("float32"))
    probabilities = []

    def bernoulli(tensor, probability):
        probabilities.append(probability)
        assert tensor.shape == mask.shape
        return tensor.copy_(mask)

    monkeypatch.setattr(torch.Tensor, "bernoulli_", bernoulli)
    # The mask has one entry for each sample, whichever axis the channels are on.
    np.testing.assert_allclose(y, module.train()(torch.from_numpy(x)).numpy(), rtol=1e-6)
    assert probabilities == ([layer.survival_prob] if rate else [])
    compare(layer, module.eval(), x)


def test_layer_scale_is_timms():
    x = data(1)
    layer, module = ks.LayerScale(), timm.LayerScale(4)
    layer.build(x.shape)
    np.testing.assert_array_equal(numpy(layer.gamma), module.gamma.detach().numpy())
    random_state(layer)
    load(module, gamma=numpy(layer.gamma))
    with torch.no_grad():
        expected = module(torch.from_numpy(x.astype("float32"))).numpy()
    np.testing.assert_allclose(numpy(layer(x.astype("float32"))), expected, rtol=1e-6)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(
    ("ours", "theirs"), [({"ratio": 4}, {"rd_ratio": 1 / 4}), ({"width": 5}, {"rd_channels": 5})], ids=str
)
def test_squeeze_and_excite_agrees_with_timm(ours, theirs, use_bias):
    x = data(2, channels=32)
    layer = built(ks.SqueezeExcite(**ours, use_bias=use_bias), x)
    module = timm.SEModule(32, **theirs, bias=use_bias)
    weights = {}
    for name, dense in (("fc1", layer.reduce), ("fc2", layer.expand)):
        weights[f"{name}__weight"] = numpy(dense.kernel).T[:, :, None, None]
        if use_bias:
            weights[f"{name}__bias"] = numpy(dense.bias)
    compare(layer, load(module, **weights), x)


@pytest.mark.parametrize("channels", [2, 4, 64, 100, 128, 512, 2048])
def test_efficient_channel_attention_is_timms(channels):
    x = data(2, channels=channels)
    layer = built(ks.EfficientChannelAttention(), x)
    weight = numpy(layer.conv.kernel)[:, 0, 0][None, None]
    compare(layer, load(timm.EcaModule(channels), conv__weight=weight), x)
