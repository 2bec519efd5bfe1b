"""Hyper-connections against those of hyper_connections and transformers, with the same weights."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_skip as ks

torch = pytest.importorskip("torch", reason="torch is not installed; the other implementations need it")

B, T, N, C = 2, 5, 4, 6
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(B, T, N, C)).astype("float32")
# Streams of one size: the root mean square of each is then that of all.
EQUAL = X / np.sqrt(np.mean(X**2, axis=-1, keepdims=True))
WEIGHT = RNG.normal(size=(C, C)).astype("float32") / C**0.5


def numpy(x):
    return np.array(ops.convert_to_numpy(x))


def ours(constraint, index=0, iterations=20, **weights):
    f = keras.layers.Dense(C, use_bias=False)
    layer = ks.HyperConnection(f, N, constraint, dynamic="kernel" in weights, index=index, iterations=iterations)
    layer.build(X.shape)
    layer.layer.kernel.assign(WEIGHT)
    for name, value in weights.items():
        getattr(layer, name).assign(value)
    return layer


def draw(module):
    """Gives the parameters of a module random values, and returns them as arrays."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            size = 1.0 if "static" in name or "scale" in name else 0.5
            if "branch" not in name:
                parameter.copy_(torch.tensor(size * RNG.normal(size=tuple(parameter.shape))))
    return {name: parameter.detach().numpy().astype("float32") for name, parameter in module.named_parameters()}


def run(module, x):
    """The output of a module of hyper_connections, which has the streams in the batch: (b s) t d."""
    with torch.no_grad():
        y = module(torch.tensor(np.moveaxis(x, 2, 1).reshape(B * N, T, C)))
    return np.moveaxis(y.numpy().reshape(B, N, T, C), 1, 2)


def branch():
    linear = torch.nn.Linear(C, C, bias=False)
    linear.weight.data = torch.tensor(WEIGHT.T)
    return linear


@pytest.mark.parametrize("dynamic", [True, False])
def test_unconstrained_connections_agree_with_hyper_connections(dynamic):
    theirs = pytest.importorskip("hyper_connections", reason="hyper_connections is not installed")
    module = theirs.HyperConnections(N, dim=C, branch=branch(), layer_index=6)
    started = ours(None, index=6)
    start = np.concatenate([module.static_alpha[:, :1].detach(), module.static_beta[:, None].detach()], axis=1)
    np.testing.assert_array_equal(numpy(started.bias)[:, :2], start)
    np.testing.assert_array_equal(numpy(started.bias)[:, 2:], module.static_alpha[:, 1:].detach())
    p = draw(module)
    if not dynamic:
        for name in ("dynamic_alpha_fn", "dynamic_beta_fn"):
            getattr(module, name).data.zero_()
    kernel = np.concatenate(
        [p["dynamic_alpha_fn"][:, :1], p["dynamic_beta_fn"][:, None], p["dynamic_alpha_fn"][:, 1:]], 1
    )
    weights = {
        "bias": np.concatenate([p["static_alpha"][:, :1], p["static_beta"][:, None], p["static_alpha"][:, 1:]], 1)
    }
    if dynamic:
        weights["kernel"] = (1 + p["norm.gamma"])[:, None] * kernel
        weights["alpha"] = [float(p[f"dynamic_{name}_scale"]) for name in ("alpha", "beta", "alpha")]
    np.testing.assert_allclose(numpy(ours(None, **weights)(X)), run(module, X), **CLOSE)


@pytest.mark.parametrize("dynamic", [True, False])
def test_sinkhorn_agrees_with_hyper_connections_where_streams_have_one_size(dynamic):
    """There each stream gives its own weights, as without a constraint; here all give all, as in the paper."""
    theirs = pytest.importorskip("hyper_connections", reason="hyper_connections is not installed")
    module = theirs.ManifoldConstrainedHyperConnections(N, dim=C, branch=branch(), layer_index=0, sinkhorn_iters=100)
    p = draw(module)
    if not dynamic:
        for name in ("dynamic_alpha_fn", "dynamic_beta_fn"):
            getattr(module, name).data.zero_()
    static, alpha_fn = p["static_alpha"], p["dynamic_alpha_fn"][0]
    weights = {"bias": np.concatenate([static[:, 0], p["static_beta"], static[:, 1:].T.ravel()])}
    if dynamic:
        kernel = np.zeros((N, C, 2 * N + N * N), "float32")
        for s in range(N):
            kernel[s, :, s], kernel[s, :, N + s] = alpha_fn[:, 0], p["dynamic_beta_fn"]
            kernel[s, :, 2 * N + s :: N] = alpha_fn[:, 1:]
        weights["kernel"] = ((1 + p["norm.gamma"])[None, :, None] * kernel).reshape(N * C, -1)
        weights["alpha"] = np.concatenate([p["pre_branch_scale"], p["h_post_scale"][None], p["residual_scale"]])
    np.testing.assert_allclose(numpy(ours("sinkhorn", iterations=100, **weights)(EQUAL)), run(module, EQUAL), **CLOSE)


def test_sinkhorn_agrees_with_deepseek_v4_in_transformers():
    modeling = pytest.importorskip(
        "transformers.models.deepseek_v4.modeling_deepseek_v4", reason="transformers with DeepSeek V4 is not installed"
    )
    config = modeling.DeepseekV4Config(hc_mult=N, hidden_size=C, hc_sinkhorn_iters=20, hc_eps=0.0, rms_norm_eps=1e-6)
    module = modeling.DeepseekV4HyperConnection(config)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.tensor(0.5 * RNG.normal(size=tuple(parameter.shape))))
        post, comb, read = module(torch.tensor(X))
        # What the decoder layer of transformers makes of them: the matrix comes transposed.
        written = post[..., None] * (read @ torch.tensor(WEIGHT))[..., None, :]
        expected = written + comb.transpose(-1, -2) @ torch.tensor(X)
    # Theirs has a row for each stream that is read, ours for each that is written.
    order = np.concatenate([np.arange(2 * N), 2 * N + np.arange(N * N).reshape(N, N).T.ravel()])
    weights = {
        "kernel": module.fn.detach().numpy().T[:, order],
        "bias": module.base.detach().numpy()[order],
        "alpha": module.scale.detach().numpy(),
    }
    layer = ours("sinkhorn", **weights)
    with ks.recorded_skips() as skips:
        y = layer(X)
    np.testing.assert_allclose(numpy(skips[0][1]["residual"]), comb.transpose(-1, -2).numpy(), **CLOSE)
    np.testing.assert_allclose(numpy(y), expected.numpy(), **CLOSE)
