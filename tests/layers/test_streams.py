"""Hyper-connections against their equations in NumPy, and what each constraint promises."""

import doctest
import functools
import itertools
import types

import keras
import numpy as np
import pytest
from keras import ops

import keras_skip as ks
from keras_skip.adaptive import recording

CONSTRAINTS = (None, "sinkhorn", "birkhoff")
CHANNELS = 5


def numpy(x):
    return np.array(ops.convert_to_numpy(x))


def data(rank=1, streams=3, seed=0, batch=4):
    return np.random.default_rng(seed).normal(size=(batch, *(6, 3)[:rank], streams, CHANNELS)).astype("float32")


def make(constraint="birkhoff", layer=None, streams=3, **options):
    layer = keras.layers.Dense(CHANNELS, activation="tanh") if layer is None else layer
    return ks.HyperConnection(layer, streams, constraint, **options)


def randomise(layer, x, size=1.0, seed=1):
    """Builds the layer for x, and gives its weights values of unit scale, times `size` for the logits."""
    layer.build(x.shape)
    rng = np.random.default_rng(seed)
    for variable in layer.trainable_variables:
        own = "kernel" in variable.path and variable.shape[0] % CHANNELS == 0
        scale = variable.shape[0] ** -0.5 if own else 1.0
        variable.assign(scale * rng.normal(size=variable.shape) * (size if variable.name == "alpha" else 1.0))
    return layer


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def weights_at(layer, x):
    """H_pre, H_post and H_res for the streams x (n, C) of one position."""
    n, bias = layer.streams, numpy(layer.bias).astype("float64")
    kernel = numpy(layer.kernel).astype("float64") if layer.dynamic else 0.0
    a, b, c = numpy(layer.alpha).astype("float64") if layer.dynamic else (0.0, 0.0, 0.0)
    if layer.constraint is None:
        pre, post, residual = np.zeros(n), np.zeros(n), np.zeros((n, n))
        for source in range(n):
            dynamic = np.zeros(n + 2)
            if layer.dynamic:
                dynamic = np.tanh(x[source] / np.sqrt(np.mean(x[source] ** 2) + layer.norm_epsilon) @ kernel)
            pre[source] = a * dynamic[0] + bias[source, 0]
            post[source] = b * dynamic[1] + bias[source, 1]
            for target in range(n):
                residual[target, source] = c * dynamic[2 + target] + bias[source, 2 + target]
        return pre, post, residual
    dynamic = x.ravel() / np.sqrt(np.mean(x**2) + layer.norm_epsilon) @ kernel if layer.dynamic else np.zeros(len(bias))
    pre = sigmoid(a * dynamic[:n] + bias[:n])
    post = 2 * sigmoid(b * dynamic[n : 2 * n] + bias[n : 2 * n])
    logits = c * dynamic[2 * n :] + bias[2 * n :]
    if layer.constraint == "birkhoff":
        residual = np.zeros((n, n))
        for weight, order in zip(softmax(logits), itertools.permutations(range(n)), strict=True):
            for row, column in enumerate(order):
                residual[row, column] += weight
        return pre, post, residual
    residual = np.exp(logits.reshape(n, n))
    for _ in range(layer.iterations):
        residual /= residual.sum(0, keepdims=True)
        residual /= residual.sum(1, keepdims=True)
    return pre, post, residual


def weights(layer, x):
    """The weights at each position of x (..., n, C)."""
    found = [weights_at(layer, each) for each in x.reshape(-1, *x.shape[-2:]).astype("float64")]
    return [np.stack(each).reshape(*x.shape[:-2], *each[0].shape) for each in zip(*found, strict=True)]


def connect(layer, x, function):
    """x' = H_res x + H_post^T F(H_pre x)"""
    pre, post, residual = weights(layer, x)
    update = function(np.einsum("...j,...jc->...c", pre, x))
    return np.einsum("...ij,...jc->...ic", residual, x) + post[..., None] * update[..., None, :]


def dense(layer):
    kernel, bias = numpy(layer.kernel), numpy(layer.bias)
    return lambda x: np.tanh(x @ kernel + bias)


@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.parametrize(("constraint", "dynamic"), [*itertools.product(CONSTRAINTS, (True, False))])
def test_it_computes_the_equation(constraint, dynamic, rank):
    x = data(rank)
    layer = randomise(make(constraint, dynamic=dynamic, iterations=60), x, 0.5)
    np.testing.assert_allclose(numpy(layer(x)), connect(layer, x, dense(layer.layer)), rtol=1e-5, atol=1e-5)
    assert hasattr(layer, "kernel") == dynamic


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_epsilon_is_that_of_the_root_mean_square(constraint):
    x = data()
    x[0] = 0.0
    layer = randomise(make(constraint, norm_epsilon=0.5, iterations=60), x, 0.5)
    np.testing.assert_allclose(numpy(layer(x)), connect(layer, x, dense(layer.layer)), rtol=1e-5, atol=1e-5)


def test_before_sinkhorn_has_converged_its_columns_come_first_and_its_rows_last():
    x = data()
    layer = randomise(make("sinkhorn", iterations=2), x, 3.0)
    with ks.recorded_skips() as skips:
        layer(x)
    received, reached = numpy(skips[0][1]["residual"]), weights(layer, x)[2]
    np.testing.assert_allclose(reached.sum(-1), 1, atol=1e-12)
    assert np.abs(reached.sum(-2) - 1).max() > 0.01
    # Entries of columns that are too large shrink to fit, and the others only grow.
    small = np.minimum(reached / reached.sum(-2, keepdims=True), reached)
    assert (received >= small - 1e-6).all() and np.abs(received - small).max() > 0.003
    np.testing.assert_allclose(received.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(received.sum(-2), 1, atol=1e-6)


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_channels_first(constraint):
    x = data(2)
    factor = np.linspace(0.5, 2.0, CHANNELS)
    options = {"init": 1.0, "axis": 1}
    layer = make(constraint, ks.LayerScale(**options), data_format="channels_first")
    given = np.moveaxis(x, (-2, -1), (1, 2))
    randomise(layer, given)
    layer.layer.gamma.assign(factor)
    expected = connect(layer, x, lambda z: z * factor)
    np.testing.assert_allclose(np.moveaxis(numpy(layer(given)), (1, 2), (-2, -1)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_expand_repeats_and_reduce_sums(rank, data_format):
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5, 6)[: rank + 2]).astype("float32")
    axis = 1 if data_format == "channels_first" else rank + 1
    expand = ks.ExpandStreams(3, data_format=data_format)
    streams = numpy(expand(x))
    np.testing.assert_array_equal(streams, np.repeat(np.expand_dims(x, axis), 3, axis))
    assert expand.compute_output_shape(x.shape) == streams.shape
    streams = np.random.default_rng(1).normal(size=streams.shape).astype("float32")
    for reduction, expected in (("sum", streams.sum(axis)), ("mean", streams.mean(axis))):
        reduce = ks.ReduceStreams(reduction, data_format=data_format)
        np.testing.assert_allclose(numpy(reduce(streams)), expected, rtol=1e-5, atol=1e-6)
        assert reduce.compute_output_shape(streams.shape) == x.shape


@pytest.mark.parametrize("constraint", CONSTRAINTS)
@pytest.mark.parametrize("streams", [2, 4])
def test_a_network_starts_as_the_plain_residual_network(constraint, streams):
    inputs = plain = keras.Input((6, 16))
    x = ks.ExpandStreams(streams)(inputs)
    for index in range(6):
        layer = keras.layers.Dense(16, activation="tanh")
        plain = ks.Residual(layer, "pre")(plain)
        x = ks.HyperConnection(layer, streams, constraint, norm="pre", index=index)(x)
    ours, theirs = keras.Model(inputs, ks.ReduceStreams()(x)), keras.Model(inputs, plain)
    given = np.random.default_rng(0).normal(size=(4, 6, 16)).astype("float32")
    expected = numpy(theirs(given))
    assert np.abs(numpy(ours(given)) - expected).max() <= 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_each_connection_starts_to_read_its_own_stream_most(constraint):
    for index, most in ((0, 0), (2, 2), (7, 1)):
        layer = make(constraint, index=index)
        x = data()
        with ks.recorded_skips() as skips:
            layer(x)
        ((found, recorded),) = skips
        pre, post, residual = (numpy(recorded[name]) for name in ("pre", "post", "residual"))
        assert found is layer and (pre.argmax(-1) == most).all()
        np.testing.assert_allclose(pre.sum(-1), 1, rtol=1e-6)
        np.testing.assert_allclose(post, 1, rtol=1e-6)
        assert (np.diagonal(residual, axis1=-2, axis2=-1) >= 0.9 - 1e-6).all()


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_the_symmetry_of_the_start_breaks_and_the_streams_learn_to_mix(constraint):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, CHANNELS))
    x, behind = ks.ExpandStreams(3)(inputs), []
    for index in range(4):
        x = make(constraint, norm="pre", index=index, iterations=5)(x)
        behind.append(x)
    model = keras.Model(inputs, ks.ReduceStreams()(x))
    # H_res of the first connection mixes equal streams, and that of the last does not change their mean.
    inner = [layer for layer in model.layers if isinstance(layer, ks.HyperConnection)][1:-1]
    starts = [numpy(layer.bias) for layer in inner]
    # Adam would follow rounding errors too.
    model.compile(keras.optimizers.SGD(0.3), "mse", jit_compile=keras.backend.backend() == "jax")
    given, target = np.random.default_rng(0).normal(size=(2, 16, 6, CHANNELS))
    for _ in range(15):
        model.train_on_batch(given, target)
    for start, layer in zip(starts, inner, strict=True):
        mixing = (slice(None), slice(2, None)) if constraint is None else slice(6, None)
        # A start at weight 0.9997 for the identity moves them by 1e-7, and one that reads all streams alike by 1e-10.
        assert np.abs(numpy(layer.bias) - start)[mixing].max() > 5e-6
    for x in keras.Model(inputs, behind)(given):
        assert np.ptp(numpy(x), axis=-2).max() > 1e-3 * np.abs(numpy(x)).max()


@pytest.mark.parametrize("size", [0.0, 1.0, 10.0, 1000.0])
@pytest.mark.parametrize("constraint", ["sinkhorn", "birkhoff"])
def test_the_product_of_a_thousand_mixing_matrices_is_doubly_stochastic(constraint, size):
    x = data(1, 4, batch=200)[:, :5]
    layer = make(constraint, streams=4)
    if size:
        randomise(layer, x, size)
    with ks.recorded_skips() as skips:
        layer(x)
    product = functools.reduce(np.matmul, numpy(skips[0][1]["residual"]).astype("float64").reshape(-1, 4, 4))
    np.testing.assert_allclose(product.sum(0), 1, atol=1e-4)
    np.testing.assert_allclose(product.sum(1), 1, atol=1e-4)


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_gradients_are_those_of_the_equation(constraint):
    """The step of SGD against differences of the loss, for the weights and for what comes before the layer."""
    x = data(0)
    layer = randomise(make(constraint), x, 0.5)
    model = keras.Sequential([keras.Input(x.shape[1:]), keras.layers.Dense(CHANNELS, use_bias=False), layer])
    target = data(0, seed=2)
    variables = {"before": model.layers[0].kernel, "kernel": layer.kernel, "alpha": layer.alpha, "bias": layer.bias}
    starts = {name: numpy(variable).astype("float64") for name, variable in variables.items()}

    def loss(name, place, change):
        values = {each: start.copy() for each, start in starts.items()}
        values[name][place] += change
        given = {
            name: getattr(layer, name) for name in ("streams", "constraint", "dynamic", "iterations", "norm_epsilon")
        }
        moved = types.SimpleNamespace(**given, **values)
        return np.mean((connect(moved, x @ values["before"], dense(layer.layer)) - target) ** 2)

    places = {
        name: [np.unravel_index(i, start.shape) for i in np.linspace(0, start.size - 1, min(start.size, 6)).astype(int)]
        for name, start in starts.items()
    }
    expected = {
        name: [(loss(name, place, 1e-5) - loss(name, place, -1e-5)) / 2e-5 for place in places[name]] for name in starts
    }
    model.compile(keras.optimizers.SGD(1.0), "mse", jit_compile=keras.backend.backend() == "jax")
    model.train_on_batch(x, target)
    for name, variable in variables.items():
        moved = starts[name] - numpy(variable)
        received = [moved[place] for place in places[name]]
        np.testing.assert_allclose(received, expected[name], rtol=1e-3, atol=2e-6, err_msg=name)
        assert np.abs(received).max() > 1e-5


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("granularity", ["batch", "sample", "rows"])
def test_a_dropped_update_leaves_the_mixed_streams(granularity, dynamic):
    x = data(batch=8)
    layer = randomise(make(survival_prob=0.5, granularity=granularity, dynamic=dynamic, seed=3), x)
    mixed, whole = (connect(layer, x, function) for function in (np.zeros_like, dense(layer.layer)))
    kept = set()
    for _ in range(8):
        y = numpy(layer(x, training=True))
        is_kept = [not np.allclose(one, other, atol=1e-4) for one, other in zip(y, mixed, strict=True)]
        expected = mixed + 2 * np.array(is_kept)[:, None, None, None] * (whole - mixed)
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
        kept.add(sum(is_kept))
    assert kept == {"batch": {0, 8}, "rows": {4}}.get(granularity, kept) and max(kept) > 0
    np.testing.assert_allclose(numpy(layer(x)), whole, rtol=1e-4, atol=1e-4)


def test_masks_a_context_and_causality_reach_the_layer():
    x, context = data(batch=2), data(batch=2, seed=1)[:, :4, 0]
    mask = np.arange(6) < np.array([[6], [4]])
    context_mask = np.arange(4) < np.array([[2], [4]])
    layer = make(layer=keras.layers.MultiHeadAttention(2, 4), norm="pre")
    y = numpy(layer(x, context, mask=mask, context_mask=context_mask))
    read = layer.pre_norm(np.einsum("...j,...jc->...c", weights(layer, x)[0], x).astype("float32"))

    def update(**options):
        return numpy(layer.layer(read, context, **options))

    real = mask[..., None, None]
    expected = connect(layer, x, lambda _: update(query_mask=mask, value_mask=context_mask))
    np.testing.assert_allclose(y * real, expected * real, rtol=1e-4, atol=1e-5)
    attention_mask = np.tri(6, 4, dtype=bool)
    y = numpy(layer(x, context, attention_mask=attention_mask))
    np.testing.assert_allclose(y, connect(layer, x, lambda _: update(attention_mask=attention_mask)), 1e-4, 1e-5)
    y = numpy(layer(x, context, use_causal_mask=True))
    np.testing.assert_allclose(y, connect(layer, x, lambda _: update(use_causal_mask=True)), rtol=1e-4, atol=1e-5)


def test_masks_are_passed_on_from_the_embedding_to_the_end():
    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(9, CHANNELS, mask_zero=True)(tokens)
    x = ks.ReduceStreams()(make()(ks.ExpandStreams(3)(x)))
    model = keras.Model(tokens, keras.layers.GlobalAveragePooling1D()(x))
    given = np.array([[3, 4, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6]])
    # A mean over the real steps alone does not see how many others there are.
    np.testing.assert_allclose(numpy(model(given))[0], numpy(model(given[:1, :2]))[0], rtol=1e-5, atol=1e-6)


def test_with_a_context_the_mask_of_the_streams_still_reaches_the_norm():
    tokens, context = keras.Input((None,), dtype="int32"), keras.Input((4, CHANNELS))
    x = ks.ExpandStreams(3)(keras.layers.Embedding(9, CHANNELS, mask_zero=True)(tokens))
    layer = make(layer=keras.layers.MultiHeadAttention(2, 4), norm="pre", normalization="batch")
    model = keras.Model([tokens, context], layer(x, context))
    read, short = data(batch=2)[:, :4, 0], np.array([[3, 4], [1, 2]])
    expected = numpy(model([short, read], training=True))
    received = numpy(model([np.pad(short, ((0, 0), (0, 3))), read], training=True))[:, :2]
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("constraint", ["sinkhorn", "birkhoff"])
def test_mixing_matrices_are_float32_under_mixed_precision(constraint, policy):
    x = 100 * data()  # the sum of squares overflows float16
    layer = randomise(make(constraint, dtype=policy), x)
    with ks.recorded_skips() as skips:
        y = layer(x)
    residual = skips[0][1]["residual"]
    assert keras.backend.standardize_dtype(residual.dtype) == "float32"
    np.testing.assert_allclose(numpy(residual).sum(-2), 1, atol=1e-6)
    given = numpy(ops.cast(ops.cast(x, y.dtype), "float32"))
    np.testing.assert_allclose(numpy(residual), weights(layer, given)[2], atol=1e-4)


def test_recomputation_learns_the_same():
    x = data()
    target = data(seed=1)
    outcomes = []
    for recompute in (False, True):
        layer = randomise(make(recompute=recompute, norm="pre"), x)
        model = keras.Sequential([keras.Input(x.shape[1:]), layer])
        model.compile(keras.optimizers.SGD(1.0), "mse", jit_compile=keras.backend.backend() == "jax")
        start = [numpy(v) for v in layer.trainable_variables]
        model.train_on_batch(x, target)
        outcomes.append([numpy(v) - s for v, s in zip(layer.trainable_variables, start, strict=True)])
    for one, other in zip(*outcomes, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_weights_and_parameters_are_those_of_the_papers():
    expected = {
        None: {"kernel": (CHANNELS, 6), "bias": (4, 6), "alpha": (3,)},
        "sinkhorn": {"kernel": (4 * CHANNELS, 24), "bias": (24,), "alpha": (3,)},
        "birkhoff": {"kernel": (4 * CHANNELS, 32), "bias": (32,), "alpha": (3,)},
    }
    for constraint, shapes in expected.items():
        layer = make(constraint, keras.layers.Activation("tanh"), streams=4)
        layer.build((None, 6, 4, CHANNELS))
        assert {v.name: tuple(v.shape) for v in layer.weights} == shapes


def test_the_example_of_recorded_skips_runs():
    found = doctest.DocTestFinder(recurse=False).find(recording.recorded_skips, "recorded_skips")
    runner = doctest.DocTestRunner(verbose=False)
    for test in found:
        runner.run(test)
    assert runner.summarize(verbose=False) == (0, len(found[0].examples)) and found[0].examples
