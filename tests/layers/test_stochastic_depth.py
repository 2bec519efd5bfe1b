"""What stochastic depth does to updates, statistics, losses and draws."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_skip as ks

X = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")


def numpy(x):
    return ops.convert_to_numpy(x)


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
    steps = 200 if granularity == "batch" else 20
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


@pytest.mark.parametrize("compiled", [True, False])
def test_dropped_batch_moves_no_statistics_and_a_kept_one_moves_them_once(compiled):
    inputs = keras.Input((4,))
    block = ks.ResidualBlock(4, survival_prob=0.5, norm_momentum=0.5, dropout=0.5, seed=4)
    model = keras.Model(inputs, block(inputs))
    # With a learning rate of 0 the batch statistics are the same at every step: a moving mean m becomes (m + mean) / 2.
    model.compile(
        optimizer=keras.optimizers.SGD(0.0), loss="mse", jit_compile=compiled and keras.backend.backend() != "torch"
    )
    mean = numpy(block.conv1(X)).mean(axis=0)
    moved = 0
    for _ in range(12):
        before = [numpy(v) for v in (block.norm1.moving_mean, block.norm2.moving_mean)]
        draws = numpy(block.dropout_layer.seed_generator.state)
        model.train_on_batch(X, np.zeros_like(X))
        after = [numpy(v) for v in (block.norm1.moving_mean, block.norm2.moving_mean)]
        if np.array_equal(after[0], before[0]):
            np.testing.assert_array_equal(after[1], before[1])
            np.testing.assert_array_equal(numpy(block.dropout_layer.seed_generator.state), draws)
        else:
            moved += 1
            np.testing.assert_allclose(after[0], (before[0] + mean) / 2, rtol=1e-3, atol=1e-5)
            assert np.any(numpy(block.dropout_layer.seed_generator.state) != draws)
    assert 0 < moved < 12


def test_shared_preactivation_statistics_move_even_when_the_branch_is_dropped():
    block = ks.PreActivationBlock(8, survival_prob=0.01, norm_momentum=0.5, seed=1)
    block(X, training=True)
    assert np.any(numpy(block.norm1.moving_mean) != 0)
    np.testing.assert_array_equal(numpy(block.norm2.moving_mean), 0)


def test_each_layer_of_a_dense_block_is_dropped_by_itself():
    block = ks.DenseBlock(4, 2, survival_prob=0.5, seed=0)
    patterns = set()
    for _ in range(12):
        features = numpy(block(X, training=True))[:, 4:].reshape(len(X), 4, 2)
        patterns.add(tuple(np.any(features != 0, axis=(0, 2))))
    assert len(patterns) > 3


@pytest.mark.parametrize("survival_prob", [0.999999, 1e-6])
def test_losses_added_in_the_branch_count_only_when_it_runs(survival_prob):
    layer = keras.layers.Dense(3, activity_regularizer="l2", kernel_regularizer="l2")
    wrapped = ks.StochasticDepth(layer, survival_prob, seed=0)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, wrapped(inputs))
    model.compile(
        optimizer=keras.optimizers.SGD(0.0),
        loss=lambda y, p: 0.0 * ops.sum(p),
        jit_compile=keras.backend.backend() == "jax",
    )
    loss = model.train_on_batch(X, np.zeros((len(X), 3), "float32"))
    weight_loss = 0.01 * np.sum(numpy(layer.kernel) ** 2)
    layer(X)
    both = sum(float(numpy(each)) for each in layer.losses)
    assert both > 1.1 * weight_loss
    np.testing.assert_allclose(loss, both if survival_prob > 0.5 else weight_loss, rtol=1e-4)


def test_a_branch_that_changes_trainable_weights_is_refused():
    class Drifting(keras.layers.Layer):
        def build(self, shape):
            self.w = self.add_weight(shape=(), initializer="ones")

        def call(self, x):
            self.w.assign(self.w * 0.9)
            return x * self.w

    wrapped = ks.StochasticDepth(Drifting(), 0.9999)
    with pytest.raises(
        ValueError, match="Expected a branch that changes only its non-trainable state.*granularity='sample'"
    ):
        wrapped(X, training=True)


def test_float_state_of_frozen_layers_survives_mixed_precision_exactly():
    block = ks.ResidualBlock(4, survival_prob=0.999999, dtype="mixed_bfloat16")
    block.build(X.shape)
    block.trainable = False
    before = block.get_weights()
    block(X, training=True)
    for old, new in zip(before, block.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


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
