"""Averages and attention over depth against their equations in NumPy, and what they read."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_skip as ks

RNG = np.random.default_rng(0)
SHAPES = {0: (3, 6), 1: (3, 5, 6), 2: (3, 5, 4, 6), 3: (2, 3, 4, 2, 6)}


def numpy(x):
    return np.array(ops.convert_to_numpy(x))


def values(count, rank=1):
    return [RNG.normal(size=SHAPES[rank]).astype("float32") for _ in range(count)]


def set_weights(layer, values, *weights):
    """Builds a layer for the values, and sets its weights, if it has any."""
    layer.build([x.shape for x in values])
    for variable, weight in zip(layer.weights, weights, strict=False):
        variable.assign(weight)
    return layer


def block(x, kernel):
    return np.tanh(x @ kernel) + x


@pytest.mark.parametrize(("dilation", "period"), [(1, 1), (2, 1), (1, 2), (3, 1), (2, 3), (4, 2)])
def test_a_stack_of_averages_is_a_denseformer(dilation, period):
    """DenseFormer keeps a group of states for each remainder of their number by the dilation."""
    x = RNG.normal(size=(3, 4, 6))
    kernels = RNG.normal(size=(7, 6, 6))
    groups = [[x]] + [[] for _ in range(dilation - 1)]
    states, y, expected = [x.astype("float32")], x.astype("float32"), x
    for l, kernel in enumerate(kernels, 1):  # noqa: E741
        groups[l % dilation].append(block(expected, kernel))
        expected = groups[l % dilation][-1]
        states.append(block(y, kernel.astype("float32")))
        average = ks.DepthAverage(dilation, period)
        alpha = RNG.normal(size=len(groups[l % dilation]))
        set_weights(average, states, alpha)
        if l % period == 0:
            expected = sum(a * each for a, each in zip(alpha, groups[l % dilation], strict=True))
            assert average.alpha.shape == alpha.shape
        else:
            assert average.weights == []
        y = numpy(average(states))
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.once
def test_an_average_starts_as_the_last_state_and_says_what_it_reads():
    states = values(6)
    for options, sources, weights in (
        ({}, (0, 1, 2, 3, 4, 5), [0, 0, 0, 0, 0, 1]),
        ({"dilation": 2}, (1, 3, 5), [0, 0, 1]),
        ({"dilation": 7}, (5,), [1]),
        ({"period": 5}, (0, 1, 2, 3, 4, 5), [0, 0, 0, 0, 0, 1]),
        ({"period": 2}, (5,), None),
    ):
        layer = ks.DepthAverage(**options)
        np.testing.assert_array_equal(numpy(layer(states)), states[-1])
        assert layer.sources == sources
        assert (layer.alpha if weights is None else numpy(layer.alpha).tolist()) == weights


def test_an_average_of_kept_states_reads_all_that_it_gets():
    states = values(3)
    layer = set_weights(ks.DepthAverage(2, 4, kept=[0, 3, 7]), states, [2.0, -1.0, 0.5])
    np.testing.assert_allclose(numpy(layer(states)), 2 * states[0] - states[1] + 0.5 * states[2], rtol=1e-5, atol=1e-6)
    assert layer.sources == (0, 3, 7)


def attend(values, query, block_size=1, reduction="sum"):
    """Attention residuals: the values, after the first added up in blocks, and their weights."""
    rest = np.array(values[1:])
    blocks = [values[0], *(rest[i : i + block_size].sum(axis=0) for i in range(0, len(rest), block_size))]
    logits = [(v / np.sqrt((v**2).mean(axis=-1, keepdims=True) + 1e-6)) @ query for v in blocks]
    weights = np.exp(logits) / np.exp(logits).sum(axis=0)
    weights = weights * (len(blocks) if reduction == "sum" else 1)
    return sum(weight[..., None] * v for weight, v in zip(weights, blocks, strict=True)), np.moveaxis(weights, 0, -1)


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
@pytest.mark.parametrize(("block_size", "reduction"), [(1, "mean"), (1, "sum"), (2, "sum"), (3, "mean"), (9, "sum")])
def test_attention_over_depth_computes_its_equation(rank, block_size, reduction):
    given, query = values(5, rank), RNG.normal(size=6)
    layer = set_weights(ks.DepthAttention(block_size, reduction), given, query)
    expected, weights = attend([v.astype("float64") for v in given], query, block_size, reduction)
    with ks.recorded_skips() as found:
        np.testing.assert_allclose(numpy(layer(given)), expected, rtol=1e-5, atol=1e-5)
    ((owner, recorded),) = found
    assert owner is layer and recorded.keys() == {"weights"}
    np.testing.assert_allclose(numpy(recorded["weights"]), weights, rtol=1e-5, atol=1e-5)
    assert layer.sources == {
        1: ((0,), (1,), (2,), (3,), (4,)),
        2: ((0,), (1, 2), (3, 4)),
        3: ((0,), (1, 2, 3), (4,)),
        9: ((0,), (1, 2, 3, 4)),
    }.get(block_size)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_attention_over_depth_with_the_channels_first(rank):
    given, query = values(4, rank), RNG.normal(size=6)
    first = [np.moveaxis(v, -1, 1) for v in given]
    layer = set_weights(ks.DepthAttention(2, data_format="channels_first"), first, query)
    expected, weights = attend([v.astype("float64") for v in given], query, 2)
    with ks.recorded_skips() as found:
        np.testing.assert_allclose(np.moveaxis(numpy(layer(first)), 1, -1), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.moveaxis(numpy(found[0][1]["weights"]), 1, -1), weights, rtol=1e-5, atol=1e-5)


def test_attention_starts_as_the_sum_and_its_query_learns_from_the_first_step():
    given = values(4)
    x = [keras.Input(v.shape[1:]) for v in given]
    layer = ks.DepthAttention()
    model = keras.Model(x, layer(x))
    total = sum(v.astype("float64") for v in given)
    np.testing.assert_allclose(numpy(layer(given)), total, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(numpy(ks.DepthAttention(2, "mean")(given)), total / 3, rtol=1e-6, atol=1e-6)
    target = RNG.normal(size=given[0].shape)
    model.compile(keras.optimizers.SGD(1.0), "mse", jit_compile=keras.backend.backend() == "jax")
    model.train_on_batch(given, target)
    # dh = sum_i (r_i - mean(r)) (dw . v_i), since n softmax_i = 1 and its derivative by the logits is 1 - 1/n or -1/n.
    gradient = 2 * (total - target) / total.size
    r = np.array([v / np.sqrt((v**2).mean(axis=-1, keepdims=True) + 1e-6) for v in given])
    along = np.array([(gradient * v).sum(axis=-1, keepdims=True) for v in given])
    expected = -((r - r.mean(axis=0)) * along).sum(axis=(0, 1, 2))
    np.testing.assert_allclose(numpy(layer.query), expected, rtol=1e-4, atol=1e-6)
    assert np.abs(expected).min() > 1e-3


def test_attention_over_one_value_is_that_value():
    (x,) = values(1)
    layer = ks.DepthAttention()
    np.testing.assert_array_equal(numpy(layer([x])), x)
    assert layer.weights == [] and layer.sources == ((0,),)
    with pytest.raises(ValueError, match="learned skips"), ks.recorded_skips():
        layer([x])


def test_under_mixed_precision_attention_weighs_in_float32():
    given = [300 * v for v in values(3)]  # whose squares are too large for float16
    query = 3 * RNG.normal(size=6)
    exact = set_weights(ks.DepthAttention(), given, query)
    half = set_weights(ks.DepthAttention(dtype="mixed_float16"), given, query)
    weights = []
    for layer in (exact, half):
        with ks.recorded_skips() as found:
            y = layer([v.astype("float16") for v in given])
        weights.append(found[0][1]["weights"])
    assert [keras.backend.standardize_dtype(x.dtype) for x in (*weights, y)] == ["float32", "float32", "float16"]
    np.testing.assert_allclose(numpy(weights[1]), numpy(weights[0]), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("cls", [ks.DepthAverage, ks.DepthAttention])
def test_weights_may_have_the_dtype_of_the_values(cls, dtype):
    given = [v.astype("float16") for v in values(3)]
    expected = numpy(cls()(given))
    layer = cls(dtype=dtype)
    y = layer(given)
    assert keras.backend.standardize_dtype(y.dtype) == layer.compute_dtype
    np.testing.assert_allclose(numpy(ops.cast(y, "float32")), expected, rtol=0.03, atol=0.03)


@pytest.mark.once
def test_only_averages_with_weights_are_recorded():
    states = values(4)
    layers = [ks.DepthAverage(), ks.DepthAverage(period=2)]
    with ks.recorded_skips() as found:
        for layer in layers:
            layer(states)
    ((owner, recorded),) = found
    assert owner is layers[0]
    np.testing.assert_array_equal(numpy(recorded["weights"]), [0, 0, 0, 1])


@pytest.mark.parametrize("cls", [ks.DepthAverage, ks.DepthAttention])
def test_the_first_mask_is_passed_on(cls):
    x = keras.Input((None, 6))
    masked, later = keras.layers.Masking()(x), keras.layers.Masking(mask_value=7.0)(x)
    plain = keras.Input((None, 6))
    model = keras.Model([x, plain], keras.layers.GlobalAveragePooling1D()(cls()([plain, masked, later])))
    short, other = np.ones((2, 2, 6), "float32"), values(1)[0][:2, :4]
    padded = np.concatenate([short, np.zeros_like(short)], axis=1)
    expected = numpy(model([short, other[:, :2]]))
    np.testing.assert_allclose(numpy(model([padded, other])), expected, rtol=1e-5, atol=1e-6)
    assert getattr(cls()([plain, plain]), "_keras_mask", None) is None


@pytest.mark.once
@pytest.mark.parametrize("cls", [ks.DepthAverage, ks.DepthAttention])
def test_the_output_has_each_size_that_one_tensor_knows(cls):
    x, y = keras.Input((None, 6)), keras.Input((5, 6))
    assert cls()([x, y]).shape == (None, 5, 6) and cls().compute_output_shape([x.shape] * 2) == (None, None, 6)


@pytest.mark.parametrize("make", [lambda: ks.DepthAverage(dilation=2), lambda: ks.DepthAttention(2)])
def test_layers_of_lists_compute_exactly_the_same_from_files_and_as_clones(make, tmp_path):
    x = keras.Input((5, 6))
    hidden = [x, *(keras.layers.Dense(6)(x) for _ in range(3))]
    model = keras.Model(x, make()(hidden))
    model.layers[-1].weights[0].assign(RNG.normal(size=model.layers[-1].weights[0].shape))
    given = values(1)[0]
    expected = numpy(model(given))
    model.save(tmp_path / "model.keras")
    copies = [keras.saving.load_model(tmp_path / "model.keras"), keras.models.clone_model(model)]
    copies[1].set_weights(model.get_weights())
    for copy in copies:
        np.testing.assert_array_equal(numpy(copy(given)), expected)
        assert copy.layers[-1].sources == model.layers[-1].sources


@pytest.mark.once
@pytest.mark.parametrize("cls", [ks.DepthAverage, ks.DepthAttention])
def test_inputs_other_than_a_list_of_one_shape_are_errors(cls):
    x, *others = values(3)
    wrong = {
        r"tensors of shapes \[\(3, 5, 6\), \(3, 5, 5\)\]": [x, x[..., :5]],
        r"tensors of shapes \[\(3, 5, 6\), \(3, 6\)\]": [x, x[:, 0]],
        r"one of shape \(3, 5, 6\)": x,
    }
    for received, given in wrong.items():
        with pytest.raises(ValueError, match=f"Expected a list of tensors of one shape. Received: {received}"):
            cls()(given)
    layer = cls()
    layer([x, *others])
    with pytest.raises(ValueError, match=r"expects 3 input\(s\), but it received 2"):
        layer([x, x])
    with pytest.raises(ValueError, match=r"as many states as are kept. Received: kept=\(0, 1\), and 3 states"):
        ks.DepthAverage(kept=[0, 1])([x, *others])
