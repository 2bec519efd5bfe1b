"""A dropped branch does not run: its statistics, weights, losses and random states stay as they were."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_skip as ks

X = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")


def numpy(x):
    return np.array(ops.convert_to_numpy(x))  # a copy: torch would give a view, which moves with the variable


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


class Tapped(keras.layers.Layer):
    """A dense layer that says on the host when it really runs, forward and backward."""

    def __init__(self, say, **kwargs):
        super().__init__(**kwargs)
        self.say = say

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], shape[-1]), initializer="glorot_uniform")

    def call(self, x):
        @ops.custom_gradient
        def tapped(x):
            def gradient(*args, upstream=None):
                return self._on_host("backward", args[0] if upstream is None else upstream)

            return self._on_host("forward", x), gradient

        return tapped(ops.matmul(x, self.kernel))

    def _on_host(self, what, x):
        def say(x):
            self.say(what)
            return x

        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            y = tf.numpy_function(say, [x], x.dtype)
            y.set_shape(x.shape)
            return y
        if keras.backend.backend() == "jax":
            import jax

            return jax.pure_callback(say, jax.ShapeDtypeStruct(x.shape, x.dtype), x)
        return x if x.device.type == "meta" else say(x)  # Keras infers shapes with tensors that hold nothing


def test_a_dropped_branch_runs_neither_forward_nor_backward():
    said = []
    wrapped = ks.StochasticDepth(Tapped(said.append), 0.5, seed=1)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, inputs + wrapped(inputs))
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=keras.backend.backend() == "jax")
    said.clear()
    outcomes = []
    for _ in range(16):
        before = numpy(wrapped.layer.kernel)
        model.train_on_batch(X, np.zeros_like(X))
        moved = np.any(numpy(wrapped.layer.kernel) != before)
        assert sorted(said) == (["backward", "forward"] if moved else [])
        outcomes.append(moved)
        said.clear()
    assert 0 < sum(outcomes) < 16


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX traces, and torch trains in no other way")
@pytest.mark.parametrize(
    "make",
    [
        lambda **options: ks.ResidualBlock(4, **options),
        lambda **options: ks.HighwayBlock(**options),
        lambda **options: ks.HighwayBlock(recompute=True, **options),
        lambda **options: ks.DenseBlock(2, 3, **options),
        lambda **options: ks.StochasticDepth(keras.layers.Dense(4), **options),
    ],
)
def test_a_dropped_branch_has_gradients_of_zero_in_eager_mode(make):
    import tensorflow as tf

    block = make(survival_prob=1e-9, seed=1)
    block.build(X.shape)
    x = tf.constant(X)
    variables = block.trainable_variables
    values = [variable.value for variable in variables]
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = block(x, training=True)
    gradients = tape.gradient(y, [x, *values])
    for gradient, value in zip(gradients, [x, *values], strict=True):
        assert gradient is not None and gradient.shape == value.shape
    # The carry gate is no part of what is dropped.
    dropped = [g for g, v in zip(gradients[1:], variables, strict=True) if "carry_gate" not in v.path]
    assert dropped and not any(np.any(gradient) for gradient in dropped)


def test_kept_blocks_learn_what_they_learn_without_the_dropped_ones():
    def network(blocks, eager=False):
        inputs = keras.Input((4,))
        x = inputs
        for block in blocks:
            x = block(x)
        model = keras.Model(inputs, x)
        jit = keras.backend.backend() == "jax"
        model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit, run_eagerly=eager and not jit)
        return model

    # The paper's scale: a kept update is added as it is.
    make = {"survival_prob": 0.5, "scale": "inference", "norm_momentum": 0.5}
    blocks = [ks.PreActivationBlock(4, seed=place, **make) for place in range(6)]
    model = network(blocks)
    seen = set()
    for step in range(4):
        target = np.random.default_rng(step).normal(size=X.shape).astype("float32")
        before = [[numpy(weight) for weight in block.weights] for block in blocks]
        statistics = [numpy(block.norm1.moving_mean) for block in blocks]
        model.train_on_batch(X, target)
        kept = [np.any(numpy(block.norm1.moving_mean) != old) for block, old in zip(blocks, statistics, strict=True)]
        seen |= {*kept}
        others = [ks.PreActivationBlock(4, norm_momentum=0.5) for _ in range(sum(kept))]
        reference = network(others, eager=True)
        values = [weights for weights, is_kept in zip(before, kept, strict=True) if is_kept]
        for other, weights in zip(others, values, strict=True):
            other.set_weights(weights)
        if others:
            reference.train_on_batch(X, target)
        after = iter(others)
        for block, weights, is_kept in zip(blocks, before, kept, strict=True):
            expected = next(after).get_weights() if is_kept else weights
            for value, wanted in zip(block.get_weights(), expected, strict=True):
                np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-6)
    assert seen == {True, False}


def test_shared_preactivation_statistics_move_even_when_the_branch_is_dropped():
    block = ks.PreActivationBlock(8, survival_prob=0.01, norm_momentum=0.5, seed=1)
    block(X, training=True)
    assert np.any(numpy(block.norm1.moving_mean) != 0)
    np.testing.assert_array_equal(numpy(block.norm2.moving_mean), 0)


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


def test_xla_takes_an_attention_mask_of_floats_for_a_mask():
    keras.utils.set_random_seed(0)
    x, pairs = keras.Input((None, 4)), keras.Input((None, None))
    around = ks.Residual(keras.layers.MultiHeadAttention(2, 3), survival_prob=1 - 1e-7, branch_scale=0.5)
    y = around(x, attention_mask=pairs)
    model = keras.Model([x, pairs], y)
    given = [X[:8].reshape(2, 4, 4), np.tril(np.ones((2, 4, 4), "float32"))]
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=keras.backend.backend() != "torch")
    assert model.train_on_batch(given, numpy(model(given))) < 1e-6


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow traces without knowing the batch")
@pytest.mark.parametrize(("survival_prob", "recompute"), [(1e-7, False), (1e-7, True), (1 - 1e-7, True)])
def test_xla_learns_the_same_from_batches_of_unknown_size(survival_prob, recompute):
    x = np.random.default_rng(0).normal(size=(7, 5, 4)).astype("float32")  # batches of 4 and 3
    learned = []
    for way in ({"run_eagerly": True}, {"jit_compile": True}):
        keras.utils.set_random_seed(0)
        options = {"survival_prob": survival_prob, "recompute": recompute}
        inside = [keras.layers.Dense(8, activity_regularizer="l2"), keras.layers.BatchNormalization()]
        around = ks.Residual([*inside, keras.layers.Dense(4)], norm="pre", branch_scale="layerscale", **options)
        model = keras.Sequential([keras.layers.Dense(4), around, ks.HighwayBlock(**options)])
        model.compile(keras.optimizers.SGD(0.1), "mse", **way)
        history = model.fit(x, x[::-1], batch_size=4, epochs=2, shuffle=False, verbose=0)
        learned.append([np.array(history.history["loss"]), *model.get_weights()])
    for value, expected in zip(*learned, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-5)
