"""Recomputation changes nothing that is computed: outputs, gradients, statistics, draws and losses are the same."""

import math

import keras
import numpy as np
import pytest
from keras import ops

import keras_skip as ks
from tests.sweep import sweep

X = np.random.default_rng(0).normal(size=(8, 6, 6, 4)).astype("float32")


class Implicit(keras.layers.Layer):
    """Takes no `training`: its dropout has it from the call of the block."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dropout = keras.layers.Dropout(0.5, seed=2)

    def call(self, x):
        return self.dropout(x)


BLOCKS = {
    "dense": lambda **options: ks.DenseBlock(2, 2, **options),
    "dense-plain": lambda **options: ks.DenseBlock(2, 2, bottleneck=False, **options),
    "dense-dropout": lambda **options: ks.DenseBlock(2, 2, bottleneck=False, dropout=0.4, seed=1, **options),
    "dense-unseeded": lambda **options: ks.DenseBlock(2, 2, dropout=0.4, **options),
    "dense-dropped": lambda **options: ks.DenseBlock(2, 2, survival_prob=0.5, seed=1, **options),
    "dense-regularized": lambda **options: ks.DenseBlock(2, 2, kernel_regularizer="l2", **options),
    "residual": lambda **options: ks.ResidualBlock(8, strides=2, **options),
    "residual-dropped": lambda **options: ks.ResidualBlock(4, survival_prob=0.5, dropout=0.4, seed=1, **options),
    "residual-layer": lambda **options: ks.ResidualBlock(4, shortcut=keras.layers.Conv2D(4, 1), **options),
    "residual-implicit": lambda **options: ks.ResidualBlock(4, shortcut=Implicit(), **options),
    "preactivation": lambda **options: ks.PreActivationBottleneckBlock(8, **options),
    "wide-sample": lambda **options: ks.WideBlock(4, survival_prob=0.5, granularity="sample", seed=1, **options),
    "highway": lambda **options: ks.HighwayBlock(normalization="batch", **options),
}
# What these have is also in others, such as dropout, an own layer as the shortcut, or plain blocks.
EQUAL = ("dense", "dense-plain", "residual", "residual-layer")


def numpy(x):
    return np.array(ops.convert_to_numpy(x))


def trained(make, recompute, steps=3, jit_compile=None, **options):
    """Weights, statistics, random states and losses after some steps."""
    keras.utils.set_random_seed(5)
    inputs = keras.Input(X.shape[1:])
    block = make(recompute=recompute, norm_momentum=0.5, **options)
    model = keras.Model(inputs, block(inputs))
    jit_compile = keras.backend.backend() == "jax" if jit_compile is None else jit_compile
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse", jit_compile=jit_compile)
    targets = [np.random.default_rng(i).normal(size=model.compute_output_shape(X.shape)) for i in range(steps)]
    losses = [float(model.train_on_batch(X, target)) for target in targets]
    return [np.array(losses), *(numpy(v) for v in block.variables)]


IN_SHORT = [name for name in BLOCKS if name not in EQUAL]
if keras.backend.backend() == "jax":
    IN_SHORT = ["dense-dropout", "residual-dropped", "wide-sample"]


@pytest.mark.parametrize("name", sweep(BLOCKS, lambda name: name in IN_SHORT))
def test_training_is_the_same(name):
    plain, recomputed = (trained(BLOCKS[name], recompute) for recompute in (False, True))
    assert len(plain) == len(recomputed)
    for value, expected in zip(recomputed, plain, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


def test_training_is_the_same_in_mixed_precision():
    plain, recomputed = (
        trained(BLOCKS["dense"], recompute, steps=1, dtype="mixed_bfloat16") for recompute in (False, True)
    )
    for value, expected in zip(recomputed, plain, strict=True):
        np.testing.assert_allclose(value, expected, rtol=0.02, atol=0.02)


def test_training_is_the_same_under_xla():
    if keras.backend.backend() == "torch":
        pytest.skip("torch compiles nothing here")
    plain, recomputed = (trained(BLOCKS["dense-dropout"], recompute, jit_compile=True) for recompute in (False, True))
    for value, expected in zip(recomputed, plain, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


def bytes_kept_on_jax(layers, recompute):
    """What the forward run of a dense block keeps for the gradient, by tracing alone."""
    import jax

    shape = (8, 16, 16, 8)
    block = ks.DenseBlock(layers, 4, recompute=recompute)
    block.build(shape)
    weights, state = ([v.value for v in group] for group in (block.trainable_variables, block.non_trainable_variables))

    def residuals(weights, x):
        _, gradient = jax.vjp(
            lambda *inputs: block.stateless_call(inputs[0], state, inputs[1], training=True)[0], weights, x
        )
        return list({id(array): array for array in jax.tree.leaves(gradient)}.values())

    arrays = jax.eval_shape(residuals, weights, np.zeros(shape, "float32"))
    return sum(math.prod(array.shape) * array.dtype.itemsize for array in arrays)


def test_jax_keeps_memory_that_grows_linearly_with_the_layers():
    if keras.backend.backend() != "jax":
        pytest.skip("the gradient's residuals can be listed on JAX alone; `make bench` measures TensorFlow's memory")
    plain, recomputed = ([bytes_kept_on_jax(layers, on) for layers in (2, 4, 8)] for on in (False, True))
    assert recomputed[2] < 0.1 * plain[2]
    growth = [(last - middle) / (middle - first) for first, middle, last in (plain, recomputed)]
    assert growth[0] > 2.5 and growth[1] == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("recompute", [False, True])
def test_xla_must_not_merge_the_second_run_with_the_first(recompute):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("jax.checkpoint sees to it on JAX, and torch compiles nothing here")
    import tensorflow as tf

    block = ks.DenseBlock(3, 2, bottleneck=False, recompute=recompute)
    block.build(X.shape)

    @tf.function(jit_compile=True)
    def gradients(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(block(x, training=True) ** 2)
        return tape.gradient(loss, [v.value for v in block.trainable_variables])

    text = gradients.experimental_get_compiler_ir(X)(stage="hlo")
    assert text.count("opt-barrier(") == (3 if recompute else 0)


def test_losses_of_a_recomputed_branch_count_once():
    losses = []
    for recompute in (False, True):
        keras.utils.set_random_seed(5)
        norm = keras.layers.BatchNormalization(activity_regularizer="l2")
        block = ks.DenseBlock(2, 3, normalization=norm, recompute=recompute)
        block(X, training=True)
        losses.append(sum(float(numpy(loss)) for loss in block.losses))
    assert losses[0] > 0.1
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


def test_sequences_keep_their_mask():
    x, mask = X[:, :, 0], np.arange(6)[None] < np.arange(8)[:, None] % 4 + 3
    outputs = []
    for recompute in (False, True):
        keras.utils.set_random_seed(5)
        outputs.append(numpy(ks.DenseBlock(2, 3, recompute=recompute)(x, training=True, mask=mask)))
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-5, atol=1e-6)


@pytest.mark.once
def test_a_file_written_without_the_option_means_false():
    config = ks.DenseBlock(2, 3).get_config()
    del config["recompute"]
    assert ks.DenseBlock.from_config(config).recompute is False


def test_a_branch_runs_once_more_for_its_gradient_and_only_then():
    runs = []

    def counted(x):
        runs.append(1)
        return ops.relu(x)

    block = ks.DenseBlock(2, 3, bottleneck=False, activation=counted, recompute=True)
    block(X)
    runs.clear()
    block(X)
    assert len(runs) == 2
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        runs.clear()
        with tf.GradientTape() as tape:
            y = block(X, training=True)
        assert len(runs) == 2
        tape.gradient(y, block.trainable_variables)
        assert len(runs) == 4


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="eager code shows how often a layer runs")
@pytest.mark.parametrize("recompute", [False, True])
def test_the_layer_inside_a_skip_runs_once_more_for_its_gradient(recompute):
    import tensorflow as tf

    runs = []

    def counted(x):
        runs.append(1)
        return ops.relu(x)

    skip = ks.Residual(keras.layers.Dense(4, activation=counted), "pre", recompute=recompute)
    skip.build(X.shape)
    runs.clear()
    with tf.GradientTape() as tape:
        y = skip(X, training=True)
    tape.gradient(y, skip.trainable_variables)
    assert len(runs) == 1 + recompute
