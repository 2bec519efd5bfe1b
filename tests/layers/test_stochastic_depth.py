"""How often stochastic depth drops, what it adds on average, and how its draws repeat."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_skip as ks

X = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")


def numpy(x):
    return np.array(ops.convert_to_numpy(x))  # a copy: torch would give a view, which moves with the variable


@pytest.mark.once
def test_linear_survival_is_the_papers():
    assert ks.linear_survival(0.5, 54)[-1] == 0.5
    np.testing.assert_allclose(ks.linear_survival(0.5, 54), [1 - i / 54 * 0.5 for i in range(1, 55)])
    assert ks.linear_survival(1.0, 3) == [1.0, 1.0, 1.0]


def test_inference_is_the_wrapped_layer():
    layer = keras.layers.Dense(3)
    wrapped = ks.StochasticDepth(layer, 0.3)
    np.testing.assert_array_equal(numpy(wrapped(X)), numpy(layer(X)))


def test_paper_scale_multiplies_at_inference_and_not_in_training():
    layer = keras.layers.Dense(3)
    wrapped = ks.StochasticDepth(layer, 0.25, scale="inference", seed=1)
    np.testing.assert_allclose(numpy(wrapped(X)), 0.25 * numpy(layer(X)), rtol=1e-6)
    outputs = [numpy(wrapped(X, training=True)) for _ in range(40)]
    for y in outputs:
        assert np.array_equal(y, np.zeros_like(y)) or np.array_equal(y, numpy(layer(X)))


@pytest.mark.parametrize("granularity", ["batch", "sample"])
def test_training_drops_as_often_as_told_and_keeps_the_expectation(granularity):
    layer = keras.layers.Dense(3)
    wrapped = ks.StochasticDepth(layer, 0.7, granularity, seed=2)
    steps = 80 if granularity == "batch" else 20
    outputs = np.stack([numpy(wrapped(X, training=True)) for _ in range(steps)])
    kept = np.any(outputs != 0, axis=-1)
    if granularity == "batch":
        assert set(kept.mean(axis=1)) == {0.0, 1.0}
    else:
        assert kept.mean(axis=1).min() > 0.0 and kept.mean(axis=1).max() < 1.0
    # Four standard deviations of a binomial proportion.
    draws = steps if granularity == "batch" else steps * len(X)
    assert abs(kept.mean() - 0.7) < 4 * (0.7 * 0.3 / draws) ** 0.5
    expected = np.broadcast_to(numpy(layer(X)) / 0.7, outputs.shape)
    np.testing.assert_allclose(outputs[kept], expected[kept], rtol=1e-5)


@pytest.mark.parametrize("granularity", ["batch", "sample"])
@pytest.mark.parametrize(
    "block",
    [
        lambda **options: ks.ResidualBlock(4, **options | {"activation": "linear"}),
        lambda **options: ks.PreActivationBlock(4, **options),
        lambda **options: ks.PreActivationBlock(4, preactivate_shortcut=True, **options),
        lambda **options: ks.HighwayBlock(**options),
        lambda **options: ks.DenseBlock(1, 4, **options),
    ],
    ids=["residual", "preactivation", "preactivation-shared", "highway", "dense"],
)
def test_expected_update_is_that_of_inference(block, granularity):
    probability, draws = 0.6, 20
    options = {"normalization": None, "activation": "tanh", "granularity": granularity, "seed": 5}
    layer, never = block(survival_prob=probability, **options), block(survival_prob=1e-9, **options)
    layer.build(X.shape)
    never.build(X.shape)
    never.set_weights(layer.get_weights())
    without = numpy(never(X, training=True))
    update = numpy(layer(X)) - without
    assert np.all(np.abs(update).max(axis=1) > 1e-3)
    drawn = np.stack([numpy(layer(X, training=True)) - without for _ in range(draws)])
    kept = np.abs(drawn).max(axis=2) > 1e-3
    # Each draw adds nothing or update / p, the latter with probability p: the expectation is the update.
    np.testing.assert_allclose(drawn[~kept], 0.0, atol=1e-6)
    np.testing.assert_allclose(
        drawn[kept], np.broadcast_to(update / probability, drawn.shape)[kept], rtol=1e-4, atol=1e-6
    )
    independent = draws if granularity == "batch" else draws * len(X)
    assert abs(kept.mean() - probability) < 4 * (probability * (1 - probability) / independent) ** 0.5


def test_a_layer_of_integers_can_be_dropped():
    tokens = np.array([[1, 2], [3, 0]])
    model = keras.Sequential(
        [keras.Input((2,), dtype="int32"), ks.StochasticDepth(keras.layers.Embedding(4, 3), 0.5, seed=0)]
    )
    eager = keras.backend.backend() != "jax"
    model.compile("sgd", "mse", run_eagerly=eager, jit_compile=not eager)
    losses = [float(model.train_on_batch(tokens, np.ones((2, 2, 3)))) for _ in range(6)]
    assert len({round(loss, 4) for loss in losses}) > 1 and 1.0 in losses


def test_several_steps_in_one_execution_draw_as_one_by_one():
    if keras.backend.backend() == "torch":
        pytest.skip("Keras trains one step an execution on torch")
    results = []
    for steps in (1, 4):
        keras.utils.set_random_seed(3)
        inputs = keras.Input((4,))
        model = keras.Model(inputs, ks.ResidualBlock(4, survival_prob=0.5, seed=1)(inputs))
        jit = keras.backend.backend() == "jax"
        model.compile(keras.optimizers.SGD(0.1), "mse", steps_per_execution=steps, jit_compile=jit)
        model.fit(X, np.zeros_like(X), batch_size=8, shuffle=False, verbose=0)
        results.append(model.get_weights())
    for one, several in zip(*results, strict=True):
        np.testing.assert_allclose(several, one, rtol=1e-4, atol=1e-6)


def test_each_layer_of_a_dense_block_is_dropped_by_itself():
    block = ks.DenseBlock(4, 2, survival_prob=0.5, seed=0)
    patterns = set()
    for _ in range(6):
        features = numpy(block(X, training=True))[:, 4:].reshape(len(X), 4, 2)
        patterns.add(tuple(np.any(features != 0, axis=(0, 2))))
    assert len(patterns) > 3


def test_dynamic_size_that_the_layer_changes_needs_sample_granularity():
    inputs = keras.Input((None, 4))
    pool = keras.layers.AveragePooling1D(2)
    with pytest.raises(ValueError, match="granularity='sample'"):
        ks.StochasticDepth(pool, 0.5)(inputs)
    assert ks.StochasticDepth(pool, 0.5, "sample")(inputs).shape == (None, None, 4)


def test_seed_repeats_the_draws():
    def draws(seed):
        block = ks.StochasticDepth(keras.layers.Identity(), 0.5, "sample", seed=seed)
        return numpy(block(X, training=True))

    np.testing.assert_array_equal(draws(3), draws(3))
    assert np.any(draws(3) != draws(4))


def test_a_layer_that_states_no_shape_can_be_wrapped():
    class Doubling(keras.layers.Layer):
        def call(self, x):
            return ops.concatenate([x, x], axis=-1)

    y = ks.StochasticDepth(Doubling(), 1e-6, seed=0)(X, training=True)
    np.testing.assert_array_equal(numpy(y), np.zeros((64, 8)))
    assert ks.ResidualBlock(8, shortcut=Doubling())(X).shape == (64, 8)
