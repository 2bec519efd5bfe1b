"""The parts of which a skip around any layer is made, each computed a second time in plain NumPy."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_skip as ks
from tests.channels import skip_without_channels_first
from tests.layers.test_equations import built, check, data, relu, sigmoid
from tests.layers.test_masks import padded_batch

RANKS = pytest.mark.parametrize("rank", [0, 1, 2, 3])
FORMATS = pytest.mark.parametrize(("data_format", "axis"), [("channels_last", -1), ("channels_first", 1)])
X = np.random.default_rng(0).normal(size=(200, 3)).astype("float32")


def numpy(x):
    return np.array(ops.convert_to_numpy(x))  # a copy: torch would give a view, which moves with the variable


class InTraining(keras.layers.Layer):
    """Trains a layer also where a model predicts."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, x):
        return self.layer(x, training=True)


def draw(layer, x, compiled):
    """The outputs of some training steps."""
    if not compiled:
        return [numpy(layer(x, training=True)) for _ in range(8)]
    model = keras.Sequential([keras.Input(x.shape[1:]), InTraining(layer)])
    model.compile(jit_compile=keras.backend.backend() != "torch")
    return np.split(model.predict(np.tile(x, (8, *[1] * (x.ndim - 1))), batch_size=len(x), verbose=0), 8)


@RANKS
@pytest.mark.parametrize("compiled", [False, True])
def test_drop_path_drops_whole_samples_and_divides_the_others_by_their_probability(rank, compiled):
    x = np.random.default_rng(1).normal(size=(40, *(2, 3, 2)[:rank], 3)).astype("float32")
    kept = []
    for y in draw(ks.DropPath(0.25, seed=rank), x, compiled):
        alive = np.any(y != 0, axis=tuple(range(1, y.ndim)))
        np.testing.assert_allclose(y[alive], x[alive] / 0.75, rtol=1e-6)
        kept.append(alive)
    assert len({alive.tobytes() for alive in kept}) == 8
    # Four standard deviations of a binomial proportion.
    assert abs(np.mean(kept) - 0.75) < 4 * (0.75 * 0.25 / np.size(kept)) ** 0.5


def test_drop_path_keeps_the_expectation():
    layer = ks.DropPath(0.4, seed=2)
    x = np.ones((2000, 1), "float32")
    mean = np.mean([numpy(layer(x, training=True)) for _ in range(5)])
    assert abs(mean - 1.0) < 4 * (0.4 / 0.6 / 10000) ** 0.5


@pytest.mark.parametrize("rate", [0.0, 0.9])
def test_drop_path_is_the_identity_at_inference_and_at_rate_0(rate):
    layer = ks.DropPath(rate)
    np.testing.assert_array_equal(numpy(layer(X, training=rate == 0.0)), X)
    np.testing.assert_array_equal(numpy(layer(X)), X)
    assert layer.survival_prob == 1.0 - rate
    if rate == 0.0:
        x = ops.convert_to_tensor(X)
        assert layer.call(x, training=True) is x and layer.seed_generator is None


def test_drop_path_repeats_the_draws_of_its_seed_which_files_and_clones_keep(tmp_path):
    def first_draw(model):
        return numpy(model(X, training=True))

    model, other = (keras.Sequential([keras.Input((3,)), ks.DropPath(0.5, seed=seed)]) for seed in (3, 4))
    y = first_draw(model)
    assert np.any(first_draw(model) != y) and np.any(first_draw(other) != y)
    model.save(tmp_path / "model.keras")
    for again in (keras.saving.load_model(tmp_path / "model.keras"), keras.models.clone_model(model)):
        np.testing.assert_array_equal(first_draw(again), y)


def test_drop_path_draws_as_stochastic_depth_by_sample():
    path, depth = ks.DropPath(0.3, seed=5), ks.StochasticDepth(keras.layers.Identity(), 0.7, "sample", seed=5)
    np.testing.assert_array_equal(numpy(path(X, training=True)), numpy(depth(X, training=True)))


def test_drop_path_takes_a_vector_of_samples():
    y = numpy(ks.DropPath(0.5, seed=0)(np.ones(50, "float32"), training=True))
    assert set(np.unique(y)) == {0.0, 2.0}


@pytest.mark.parametrize(("rank", "axis"), [(0, 1), (0, -1), (1, 2), (1, -2), (2, 1), (2, -1), (3, 2), (3, -2)])
def test_layer_scale_multiplies_the_channels(rank, axis):
    x = data(rank)
    layer = built(ks.LayerScale(axis=axis), x)
    gamma = numpy(layer.gamma)
    assert gamma.shape == (x.shape[axis],)
    check(layer, x, np.moveaxis(np.moveaxis(x, axis, -1) * gamma, -1, axis))


@RANKS
def test_layer_scale_with_a_single_factor_takes_any_size(rank):
    x = data(rank)
    layer = ks.LayerScale(-0.5, axis=None)
    check(layer, x, -0.5 * x)
    assert layer.gamma.shape == () and layer.count_params() == 1
    inputs = keras.Input((None,) * (rank + 1))
    assert layer(inputs).shape == inputs.shape


def test_layer_scale_starts_where_the_papers_say():
    np.testing.assert_allclose(numpy(ks.LayerScale()(X)), 1e-5 * X, rtol=1e-6)
    block = X + numpy(ks.LayerScale(0.0, axis=None)(X))
    np.testing.assert_array_equal(block, X)


@RANKS
@FORMATS
@pytest.mark.parametrize("use_bias", [True, False])
def test_squeeze_and_excite(rank, data_format, axis, use_bias):
    x = data(rank, channels=6)
    layer = ks.SqueezeExcite(ratio=2, activation="tanh", use_bias=use_bias, data_format=data_format)
    built(layer, np.moveaxis(x, -1, axis))
    assert len(layer.weights) == (4 if use_bias else 2) and layer.reduce.units == 3
    z = x.mean(axis=tuple(range(1, x.ndim - 1)))
    for dense, function in ((layer.reduce, np.tanh), (layer.expand, sigmoid)):
        z = function(z @ numpy(dense.kernel) + (numpy(dense.bias) if use_bias else 0.0))
    check(layer, np.moveaxis(x, -1, axis), np.moveaxis(x * z.reshape(2, *[1] * rank, 6), -1, axis))


def test_squeeze_and_excite_with_other_functions_and_at_least_one_unit():
    x = data(2)
    layer = built(ks.SqueezeExcite(gate_activation="hard_sigmoid"), x)
    assert layer.reduce.units == 1
    z = relu(x.mean((1, 2)) @ numpy(layer.reduce.kernel) + numpy(layer.reduce.bias))
    gate = np.clip((z @ numpy(layer.expand.kernel) + numpy(layer.expand.bias)) / 6 + 0.5, 0, 1)
    check(layer, x, x * gate[:, None, None])


@RANKS
@FORMATS
@pytest.mark.parametrize("kernel_size", [None, 5])
def test_efficient_channel_attention(rank, data_format, axis, kernel_size):
    x = data(rank, channels=7)
    layer = built(ks.EfficientChannelAttention(kernel_size, data_format=data_format), np.moveaxis(x, -1, axis))
    k = kernel_size or 3
    assert [w.shape for w in layer.weights] == [(k, 1, 1)]
    z = np.pad(x.mean(axis=tuple(range(1, x.ndim - 1))), [(0, 0), (k // 2, k // 2)])
    gate = sigmoid(sum(numpy(layer.conv.kernel)[i, 0, 0] * z[:, i : i + 7] for i in range(k)))
    check(layer, np.moveaxis(x, -1, axis), np.moveaxis(x * gate.reshape(2, *[1] * rank, 7), -1, axis))


@pytest.mark.once
@pytest.mark.parametrize(
    ("channels", "kernel_size"), [(1, 3), (8, 3), (64, 3), (127, 3), (128, 5), (512, 5), (1024, 5), (2048, 7)]
)
def test_efficient_channel_attention_reaches_further_over_more_channels(channels, kernel_size):
    layer = ks.EfficientChannelAttention()
    layer.build((None, channels))
    assert layer.conv.kernel_size == (kernel_size,)


ATTENTIONS = pytest.mark.parametrize("cls", [ks.SqueezeExcite, ks.EfficientChannelAttention])


@ATTENTIONS
def test_attention_averages_the_real_steps_alone_and_scales_all(cls):
    layer = cls()
    (x, mask), (noise, _) = padded_batch(0.0), padded_batch(1e3)
    built(layer, x)
    y = numpy(layer(noise, mask=mask))
    for row, steps in enumerate(mask.sum(axis=1)):
        np.testing.assert_allclose(y[row, :steps], numpy(layer(x[row : row + 1, :steps]))[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(y[row, steps:], y[row, :1] / noise[row, :1] * noise[row, steps:], rtol=1e-4)
    assert np.isfinite(numpy(layer(x, mask=np.zeros_like(mask)))).all()


@ATTENTIONS
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_averages_inputs_whose_sum_exceeds_half_precision(cls, policy, masked):
    x = np.full((1, 70_000, 4), 1.5, "float32")
    mask = {"mask": np.arange(70_000) < np.array([[69_000]])} if masked else {}
    layer, exact = built(cls(dtype=policy), x), built(cls(), x)
    received = numpy(ops.cast(layer(x, **mask), "float32"))
    np.testing.assert_allclose(received, numpy(exact(x, **mask)), rtol=0.01)


@pytest.mark.parametrize(
    ("option", "name", "cls"),
    [
        ("branch_scale", "layerscale", ks.LayerScale),
        ("attention", "se", ks.SqueezeExcite),
        ("attention", "eca", ks.EfficientChannelAttention),
        ("gate", "highway", ks.HighwayGate),
    ],
)
def test_a_layer_as_argument_finds_the_channels_as_its_name_does(option, name, cls):
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 4)).astype("float32")
    named, given = (
        ks.Residual(keras.layers.Activation("tanh"), data_format="channels_first", **{option: value})
        for value in (name, cls())
    )
    for residual in (named, given):
        residual.build(x.shape)
    assert [w.shape for w in given.weights] == [w.shape for w in named.weights]
    if option == "gate":
        skip_without_channels_first()
    weights = [np.random.default_rng(1).normal(size=w.shape) for w in named.weights]
    named.set_weights(weights)
    given.set_weights(weights)
    np.testing.assert_array_equal(ops.convert_to_numpy(given(x)), ops.convert_to_numpy(named(x)))


def test_a_layer_as_argument_keeps_the_axis_that_it_names():
    scale, gate = ks.LayerScale(axis=2), ks.HighwayGate(data_format="channels_first")
    first = ks.Residual(keras.layers.Activation("tanh"), branch_scale=scale, data_format="channels_first")
    last = ks.Residual(keras.layers.Activation("tanh"), gate=gate, data_format="channels_last")
    for residual in (first, last):
        residual.build((None, 6, 5, 4))
    assert first.layer_scale.axis == 2 and first.layer_scale.gamma.shape == (5,)
    assert last.gate_layer.data_format == "channels_first"


@pytest.mark.parametrize(
    "layer",
    [ks.DropPath(0.5), ks.LayerScale(), ks.LayerScale(axis=None), ks.SqueezeExcite(), ks.EfficientChannelAttention()],
    ids=lambda layer: layer.name,
)
def test_masks_are_passed_on(layer):
    x, mask = padded_batch(0.0)
    tokens = keras.Input((None,), dtype="int32")
    embedded = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    pooled = keras.layers.GlobalAveragePooling1D()(layer(embedded))
    model = keras.Model(tokens, pooled)
    short = np.array([[3, 5, 7, 2, 0, 0]])
    np.testing.assert_allclose(numpy(model(short)), numpy(model(short[:, :4])), rtol=1e-5, atol=1e-7)
    received = numpy(layer.compute_mask(ops.convert_to_tensor(x), ops.convert_to_tensor(mask)))
    np.testing.assert_array_equal(received, mask)


AT_CONSTRUCTION = {
    "rate=1.0": lambda: ks.DropPath(1.0),
    "rate=-0.1": lambda: ks.DropPath(-0.1),
    "rate=nan": lambda: ks.DropPath(float("nan")),
    "rate='half'": lambda: ks.DropPath("half"),
    "seed=1.5": lambda: ks.DropPath(0.1, seed=1.5),
    "init=inf": lambda: ks.LayerScale(float("inf")),
    "init=None": lambda: ks.LayerScale(None),
    "axis=1.5": lambda: ks.LayerScale(axis=1.5),
    "axis=True": lambda: ks.LayerScale(axis=True),
    "ratio=0": lambda: ks.SqueezeExcite(0),
    "ratio=0.25": lambda: ks.SqueezeExcite(0.25),
    "width=0": lambda: ks.SqueezeExcite(width=0),
    "width=2.5": lambda: ks.SqueezeExcite(width=2.5),
    "use_bias='yes'": lambda: ks.SqueezeExcite(use_bias="yes"),
    "activation=<": lambda: ks.SqueezeExcite(activation=keras.layers.PReLU()),
    "gate_activation=<": lambda: ks.SqueezeExcite(gate_activation=keras.layers.PReLU()),
    "data_format='NCHW'": lambda: ks.SqueezeExcite(data_format="NCHW"),
    "kernel_size=4": lambda: ks.EfficientChannelAttention(4),
    "kernel_size=0": lambda: ks.EfficientChannelAttention(0),
    r"kernel_size=\(3,\)": lambda: ks.EfficientChannelAttention((3,)),
}

AT_BUILD = {
    r"axis=0, input_shape=\(2, 4\)": (lambda: ks.LayerScale(axis=0), (2, 4)),
    r"axis=-2, input_shape=\(2, 4\)": (lambda: ks.LayerScale(axis=-2), (2, 4)),
    r"axis=3, input_shape=\(2, 5, 4\)": (lambda: ks.LayerScale(axis=3), (2, 5, 4)),
    r"axis=-1, input_shape=\(2, 5, None\)": (lambda: ks.LayerScale(), (2, 5, None)),
    r"input_shape=\(2, 8, 8, None\)": (lambda: ks.SqueezeExcite(), (2, 8, 8, None)),
    r"input_shape=\(8,\)": (lambda: ks.EfficientChannelAttention(), (8,)),
}


@pytest.mark.once
@pytest.mark.parametrize("received", AT_CONSTRUCTION)
def test_bad_argument_is_refused_at_construction(received):
    with pytest.raises(ValueError, match=f"(?s)Expected .*Received: .*{received}"):
        AT_CONSTRUCTION[received]()


@pytest.mark.once
@pytest.mark.parametrize("received", AT_BUILD)
def test_bad_shape_is_refused_at_build(received):
    make, shape = AT_BUILD[received]
    with pytest.raises(ValueError, match=f"(?s)Expected .*Received: .*{received}"):
        make().build(shape)


@pytest.mark.once
def test_other_channels_than_built_for_are_refused():
    for layer in (ks.LayerScale(), ks.LayerScale(axis=1), ks.SqueezeExcite(), ks.EfficientChannelAttention()):
        layer.build((None, 4))
        with pytest.raises(ValueError, match="to have value 4.*received input with shape"):
            layer(np.zeros((1, 3), "float32"))
