"""Pruned averages over depth: outputs as with weights of 0, edges that are gone, and models that train and save."""

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_skip as ks
from tests.layers.test_depth import numpy

JIT = keras.backend.backend() == "jax"
X = np.random.default_rng(0).normal(size=(4, 5, 8)).astype("float32")


def body(blocks=4, name="body", **options):
    return ks.stack([L.Dense(8, activation="tanh") for _ in range(blocks)], "depth_average", name=name, **options)


def plain():
    x = keras.Input((5, 8))
    return keras.Model(x, L.Dense(3)(body()(x)), name="plain")


def dilated():
    x = keras.Input((5, 8))
    return keras.Model(x, body(5, dilation=2, period=2)(x), name="dilated")


def masked():
    x = keras.Input((5, 8), name="x")
    y = body()(L.Masking()(x))
    return keras.Model({"x": x}, {"mean": L.GlobalAveragePooling1D()(y), "all": y}, name="masked")


def nested():
    """A model that calls an inner model twice, and beside it one without averages."""
    a, b = keras.Input((5, 8)), keras.Input((5, 8))
    other = keras.Model(b, L.Dense(8)(b), name="other")
    inner = keras.Model(a, other(body(3, "inner_body")(a)), name="inner")
    within = keras.Sequential([keras.Input((5, 8)), inner, L.Dense(8)], name="within")
    x = keras.Input((5, 8))
    return keras.Model(x, body(2, "outer_body")(within(x + within(x))), name="nested")


def crossed():
    """A model that is called by itself and inside another one; Keras cannot load its file."""
    a, x = keras.Input((5, 8)), keras.Input((5, 8))
    inner = keras.Model(a, body(3)(a), name="inner")
    within = keras.Sequential([keras.Input((5, 8)), inner, L.Dense(8)], name="within")
    return keras.Model(x, L.Dense(3)(inner(x) + within(x)), name="crossed")


def shared():
    """A stack that is called twice."""
    x, stack = keras.Input((5, 8)), body(3)
    return keras.Model(x, [stack(x), stack(stack(2 * x))], name="shared")


MODELS = {make.__name__: make for make in (plain, dilated, masked, nested, shared)}


def averages(model):
    return {layer.name: layer for layer in model._flatten_layers() if isinstance(layer, ks.DepthAverage)}


def with_weights(make, seed=0):
    """A model whose averages have weights between -1 and 1."""
    model = make()
    rng = np.random.default_rng(seed)
    for layer in averages(model).values():
        for alpha in layer.weights:
            alpha.assign(rng.choice([-1, 1], alpha.shape) * rng.permutation(np.linspace(0.1, 1, alpha.shape[0])))
    return model


def call(model, x=X):
    return [numpy(y) for y in keras.tree.flatten(model({"x": x} if model.name == "masked" else x))]


@pytest.mark.parametrize("threshold", [0.3, 0.95])
@pytest.mark.parametrize("name", MODELS)
def test_a_pruned_model_computes_what_it_would_with_those_weights_at_zero(name, threshold, tmp_path):
    model = with_weights(MODELS[name])
    before, given = call(model), ks.list_depth_weights(model)
    pruned = ks.prune_skips(model, threshold)
    left, read = ks.list_depth_weights(pruned), averages(pruned)  # nothing may read an average any more
    assert left == [(name, j, alpha) for name, j, alpha in given if abs(alpha) >= threshold and name in read]
    assert 0 < len(left) < len(given)
    for ours, expected in zip(call(model), before, strict=True):
        np.testing.assert_array_equal(ours, expected)
    for layer in averages(model).values():
        for alpha in layer.weights:
            alpha.assign(np.where(np.abs(numpy(alpha)) < threshold, 0.0, numpy(alpha)))
    for ours, expected in zip(call(pruned), call(model), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    pruned.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert ks.list_depth_weights(again) == left
    for ours, expected in zip(call(again), call(pruned), strict=True):
        np.testing.assert_array_equal(ours, expected)
    assert not {id(v) for v in pruned.variables} & {id(v) for v in model.variables}


def edges(model):
    return {
        name: [x._keras_history.operation.name for x in keras.tree.flatten(layer.input)]
        for name, layer in sorted(averages(model).items())
    }


@pytest.mark.once
def test_the_edges_of_small_weights_and_blocks_that_nothing_reads_are_gone():
    model = plain()
    x = model.layers[0].name
    weights = {1: [0.5, 1.0], 2: [0.1, 0.2, 1.0], 3: [1.0, -0.6, 0.1, 0.2], 4: [0.3, 0.5, -1.0, 0.2, 0.7]}
    for number, alpha in weights.items():
        averages(model)[f"body_{number}_average"].alpha.assign(alpha)
    pruned = ks.prune_skips(model, 0.5)
    assert edges(pruned) == {
        "body_1_average": [x, "body_1"],
        "body_3_average": [x, "body_1"],
        "body_4_average": ["body_1", "body_2", "body_4"],
    }
    assert {name: layer.sources for name, layer in averages(pruned).items()} == {
        "body_1_average": (0, 1),
        "body_3_average": (0, 1),
        "body_4_average": (1, 2, 4),
    }
    # No average reads the third block any more, nor so anything the average in front of it.
    gone = {layer.name for layer in model.layers} - {layer.name for layer in pruned.layers}
    assert gone == {"body_3", "body_2_average"}
    again = ks.prune_skips(pruned, 0.6)
    assert averages(again)["body_4_average"].sources == (2, 4)
    assert edges(again)["body_4_average"] == ["body_2", "body_4"]
    assert averages(again)["body_4_average"].alpha.shape == (2,)


@pytest.mark.once
def test_threshold_zero_changes_nothing():
    model = with_weights(crossed)
    model.layers[-1].trainable = False
    same = ks.prune_skips(model, 0)
    assert ks.list_depth_weights(same) == ks.list_depth_weights(model) and same.name == "crossed"
    assert [layer.name for layer in same.layers] == [layer.name for layer in model.layers]
    assert [v.name for v in same.trainable_variables] == [v.name for v in model.trainable_variables]
    assert len(model.trainable_variables) < len(model.variables)
    for ours, expected in zip(call(same), call(model), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_a_pruned_model_trains_and_what_is_frozen_stays_frozen():
    model = with_weights(plain)
    averages(model)["body_4_average"].trainable = False
    pruned = ks.prune_skips(model, 0.3)
    before = {name: numpy(layer.alpha) for name, layer in averages(pruned).items()}
    pruned.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=JIT)
    pruned.fit(X, np.zeros((4, 5, 3)), epochs=2, verbose=0)
    moved = {name for name, layer in averages(pruned).items() if np.any(numpy(layer.alpha) != before[name])}
    assert moved == {"body_1_average", "body_2_average", "body_3_average"}


@pytest.mark.once
def test_attention_over_depth_stays_as_it_is():
    x = keras.Input((5, 8))
    y = ks.stack([L.Dense(8) for _ in range(2)], "depth_attention", name="attention")(body(2)(x))
    model = keras.Model(x, y, name="both")
    pruned = ks.prune_skips(model, 0.5)
    assert pruned.get_layer("attention_attention").sources == ((0,), (1,), (2,))
    np.testing.assert_allclose(call(pruned)[0], call(model)[0], rtol=1e-5, atol=1e-6)


class Subclassed(keras.Model):
    def call(self, x):
        return x


@pytest.mark.once
def test_errors_say_what_is_missing():
    model = with_weights(plain)
    for threshold in (-0.1, float("nan"), "small", None):
        with pytest.raises(ValueError, match=r"Expected threshold to be a number in \[0, inf\). Received: threshold="):
            ks.prune_skips(model, threshold)
    with pytest.raises(ValueError, match=r"Received: threshold=1.01, and body_1_average with weights \[.*1.0.*\]"):
        ks.prune_skips(model, 1.01)
    x = keras.Input((5, 8))
    without = keras.Model(x, ks.stack([L.Dense(8)], "depth_attention")(x), name="without")
    for function in (ks.list_depth_weights, lambda model: ks.prune_skips(model, 0.1)):
        with pytest.raises(ValueError, match="Expected a model with a DepthAverage.* Received: without, whose graph"):
            function(without)
        with pytest.raises(ValueError, match="Expected a functional model.* Received: mine"):
            function(Subclassed(name="mine"))
