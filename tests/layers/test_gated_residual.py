"""Gated residual networks against the paper's equation in NumPy, and against pytorch_forecasting's."""

import importlib.util
import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import keras_skip as ks
from tests.channels import skip_without_channels_first
from tests.layers.test_contracts import random_state
from tests.layers.test_equations import check, conv, data, sigmoid

RNG = np.random.default_rng(1)


def numpy(x):
    return np.array(ops.convert_to_numpy(x))


def built(x, context=None, **options):
    layer = ks.GatedResidualNetwork(4, **options)
    layer.build(x.shape, None if context is None else context.shape)
    random_state(layer, seed=3)
    return layer


def elu(x):
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def by_equation(layer, x, context=None):
    hidden = conv(x, layer.hidden_dense)
    if context is not None:
        mapped = context @ numpy(layer.context_dense.kernel).reshape(-1, layer.units)  # W_3 has no bias
        hidden = hidden + mapped.reshape(len(x), *[1] * (x.ndim - mapped.ndim), *mapped.shape[1:])
    value, gate = np.split(conv(conv(elu(hidden), layer.update_dense), layer.glu_dense), 2, axis=-1)
    y = (x if layer.projection is None else conv(x, layer.projection)) + sigmoid(gate) * value
    mean, variance = y.mean(axis=-1, keepdims=True), y.var(axis=-1, keepdims=True)
    return numpy(layer.norm.gamma) * (y - mean) / np.sqrt(variance + layer.norm_epsilon) + numpy(layer.norm.beta)


@pytest.mark.parametrize(
    ("rank", "context", "output_units"),
    [(0, "none", 5), (1, "static", None), (2, "full", 5), (3, "static", 5)]
    + [
        pytest.param(*case, marks=pytest.mark.once)
        for case in ((0, "static", None), (1, "none", None), (1, "full", None), (2, "static", 5), (3, "none", None))
    ],
)
def test_it_computes_the_papers_equation(rank, context, output_units):
    x = data(rank)
    c = {"none": None, "static": data(0, 3), "full": data(rank, 3)}[context]
    layer = built(x, c, output_units=output_units)
    assert (layer.projection is None) == (output_units is None)
    received = numpy(layer(*[each.astype("float32") for each in (x, c) if each is not None]))
    np.testing.assert_allclose(received, by_equation(layer, x, c), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "function"), [("relu", lambda x: np.maximum(x, 0)), (None, lambda x: x)])
def test_activation_and_normalization_can_be_chosen(name, function):
    x = data(1)
    layer = built(x, activation=name, normalization=None)
    hidden = conv(function(conv(x, layer.hidden_dense)), layer.update_dense)
    value, gate = np.split(conv(hidden, layer.glu_dense), 2, axis=-1)
    check(layer, x, x + sigmoid(gate) * value)
    assert layer.norm is None


@pytest.mark.parametrize(("rank", "static"), [(1, True), (2, True), (3, True), (2, False)])
def test_channels_first_holds_for_the_context_too(rank, static):
    skip_without_channels_first()
    x, c = data(rank).astype("float32"), data(0 if static else rank, 3).astype("float32")
    last = built(x, c, output_units=8)
    x_first, c_first = (np.ascontiguousarray(np.moveaxis(each, -1, 1)) for each in (x, c))
    first = built(x_first, c_first, output_units=8, data_format="channels_first")
    first.set_weights(last.get_weights())
    np.testing.assert_allclose(
        np.moveaxis(numpy(first(x_first, c_first)), 1, -1), numpy(last(x, c)), rtol=1e-5, atol=1e-5
    )


def test_only_training_drops_and_only_the_update():
    x = data(1).astype("float32")
    layer = built(x, dropout=0.5, seed=1, normalization=None)
    layer.glu_dense.kernel.assign(np.concatenate([np.eye(4), np.zeros((4, 4))], axis=1)[None])
    layer.glu_dense.bias.assign([0.0] * 4 + [50.0] * 4)  # the unit passes its input on
    update = numpy(layer(x)) - x
    ratio = (numpy(layer(x, training=True)) - x) / update
    np.testing.assert_allclose(np.unique(np.round(ratio, 2)), [0.0, 2.0])


def test_a_closed_gate_leaves_the_normalised_input():
    x = data(1)
    layer = built(x)
    layer.glu_dense.bias.assign([0.0] * 4 + [-50.0] * 4)
    layer.norm.gamma.assign(np.ones(4))
    layer.norm.beta.assign(np.zeros(4))
    check(layer, x, (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True))


@pytest.mark.parametrize("context", [False, True])
def test_the_mask_of_the_input_is_used_and_passed_on(context):
    x, static = keras.Input((7, 4)), keras.Input((3,))
    layer = ks.GatedResidualNetwork(4)
    masked = keras.layers.Masking()(x)
    y = layer(masked, static) if context else layer(masked)
    model = keras.Model([x, static], keras.layers.GlobalAveragePooling1D()(y))
    random_state(model)
    values, c = data(1).astype("float32"), data(0, 3).astype("float32")
    values[:, 4:] = 0.0
    expected = by_equation(layer, values[:, :4], c if context else None).mean(axis=1)
    np.testing.assert_allclose(numpy(model([values, c])), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["mask", "x_mask"])  # with a context, Keras calls it x_mask
def test_statistics_leave_the_padding_out(name):
    x, mask = data(1).astype("float32"), np.arange(7) < np.array([[4], [4]])
    alone, padded = (built(x, normalization="batch") for _ in range(2))
    short = numpy(alone(x[:, :4], training=True))
    x[:, 4:] = 1e3
    np.testing.assert_allclose(numpy(padded(x, training=True, **{name: mask}))[:, :4], short, rtol=1e-4, atol=1e-5)
    for one, two in zip(padded.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)


def test_a_network_with_a_context_survives_saving(tmp_path):
    x, static = keras.Input((None, 4)), keras.Input((3,))
    model = keras.Model([x, static], ks.GatedResidualNetwork(6, 5, activation="gelu", dropout=0.2, seed=2)(x, static))
    random_state(model)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    inputs = [data(1).astype("float32"), data(0, 3).astype("float32")]
    assert json.dumps(again.get_config()) == json.dumps(model.get_config())
    np.testing.assert_array_equal(numpy(again(inputs)), numpy(model(inputs)))
    np.testing.assert_array_equal(numpy(again(inputs, training=True)), numpy(model(inputs, training=True)))


@pytest.mark.once
def test_it_learns_what_only_the_context_tells():
    keras.utils.set_random_seed(0)
    x, static = keras.Input((None, 4)), keras.Input((2,))
    hidden = ks.GatedResidualNetwork(16, dropout=0.05)(x, static)
    model = keras.Model([x, static], keras.layers.Dense(1)(hidden))
    model.compile(keras.optimizers.Adam(0.02), "mse", jit_compile=keras.backend.backend() != "torch")
    inputs = [RNG.normal(size=(256, 5, 4)), RNG.choice([-1.0, 1.0], size=(256, 2))]
    target = inputs[0][..., :1] * inputs[1][:, None, :1]
    model.fit(inputs, target, batch_size=32, epochs=12, verbose=0)
    assert model.evaluate(inputs, target, verbose=0) < 0.2  # without the context it would be 1


@pytest.mark.once
def test_a_context_that_does_not_fit_is_refused():
    for received in ((2, 5, 3), (2, 5, 5, 3), (2, 7, 5, None), (2, None), ((2, 3),)):
        with pytest.raises(
            ValueError, match="Expected a context of shape .* Received: " + re.escape(f"context_shape={received}")
        ):
            ks.GatedResidualNetwork(4).build((2, 7, 5, 4), received)
    for given in ((None, None, 1, 3), (2, 7, 5, 3), (2, 3)):
        ks.GatedResidualNetwork(4).build((2, 7, 5, 4), given)
        ks.GatedResidualNetwork(4).build((2, None, None, 4), given)
    x, context = data(1).astype("float32"), data(0, 3).astype("float32")
    with_context, without = built(x, context), built(x)
    symbolic = keras.Input(x.shape[1:])
    for layer, wrong, said in (
        (without, context, "Expected no context, .*Received: a context with 3 channels"),
        (with_context, None, "Expected a context with 3 channels, .*Received: no context"),
        (with_context, context[:, :2], "Expected a context with 3 channels, .*Received: a context with 2 channels"),
    ):
        with pytest.raises(ValueError, match=said):
            layer(x, wrong)
        with pytest.raises(ValueError, match=said):
            layer(symbolic, None if wrong is None else keras.Input(wrong.shape[1:]))


def test_a_layer_around_it_hands_it_the_context():
    inner, x, context = ks.GatedResidualNetwork(4), data(1).astype("float32"), data(0, 3).astype("float32")
    y = ks.Residual(inner, "pre", normalization="rms")(x, context=context)
    normalized = x / np.sqrt(np.mean(np.square(x), axis=-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(numpy(y), x + by_equation(inner, normalized, context), rtol=1e-4, atol=1e-5)
    assert inner.context_dense.kernel.shape[0] == 3


@pytest.fixture
def forecasting():
    """The file of pytorch_forecasting that has its gated residual network, without what the whole package imports."""
    pytest.importorskip("torch", reason="torch, which pytorch_forecasting needs, is not installed")
    package = importlib.util.find_spec("pytorch_forecasting")
    if package is None:
        pytest.skip("pytorch_forecasting is not installed")
    file = Path(package.origin).parent / "models" / "temporal_fusion_transformer" / "sub_modules.py"
    spec = importlib.util.spec_from_file_location("sub_modules", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def of_torch(**layers):
    """The weights of dense layers under the names that torch has for them."""
    import torch

    found = {}
    for name, layer in layers.items():
        name = name.replace("__", ".")
        found[f"{name}.weight"] = torch.from_numpy(numpy(layer.kernel).reshape(layer.kernel.shape[-2:]).T.copy())
        if layer.bias is not None:
            found[f"{name}.bias"] = torch.from_numpy(numpy(layer.bias).copy())
    return found


@pytest.mark.parametrize("output_units", [None, 5])
@pytest.mark.parametrize("context", [False, True])
def test_it_agrees_with_pytorch_forecasting(forecasting, output_units, context):
    import torch

    x = data(1).astype("float32")
    c = RNG.normal(size=(2, 1, 3)).astype("float32") if context else None
    layer = built(x, None if c is None else c[:, 0], output_units=output_units, dropout=0.1, norm_epsilon=1e-5)
    # Theirs interpolates the skip where the channels differ, or takes one that the caller makes: our projection.
    module = forecasting.GatedResidualNetwork(
        4, 4, output_units or 4, context_size=3 if context else None, residual=output_units is not None
    )
    dense = {"fc1": layer.hidden_dense, "fc2": layer.update_dense, "gate_norm__glu__fc": layer.glu_dense}
    weights = of_torch(**dense, **({"context": layer.context_dense} if context else {}))
    for name, value in (("weight", layer.norm.gamma), ("bias", layer.norm.beta)):
        weights[f"gate_norm.add_norm.norm.{name}"] = torch.from_numpy(numpy(value).copy())
    module.load_state_dict(weights)
    skip = x if layer.projection is None else conv(x, layer.projection).astype("float32")
    with torch.no_grad():
        theirs = module.eval()(*[each if each is None else torch.from_numpy(each) for each in (x, c, skip)])
    ours = layer(x) if c is None else layer(x, c[:, 0])
    np.testing.assert_allclose(numpy(ours), theirs.numpy(), rtol=1e-5, atol=1e-5)
