"""A skip around any layer: every placement of a normalisation, factor and shortcut against its equation in NumPy."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

import keras_skip as ks
from tests.channels import skip_without_channels_first
from tests.layers.test_equations import built, check, conv, norm
from tests.layers.test_normalization import by_name

L = 6
EPSILON = 0.01  # that of `by_name`
EQUATIONS = {
    None: lambda x, f, n1, n2, n3: x + f(x),
    "pre": lambda x, f, n1, n2, n3: x + f(n1(x)),
    "post": lambda x, f, n1, n2, n3: n3(x + f(x)),
    "peri": lambda x, f, n1, n2, n3: x + n2(f(n1(x))),
    "deepnorm": lambda x, f, n1, n2, n3: n3(L**0.25 * x + f(x)),
    "keel": lambda x, f, n1, n2, n3: n3(L * x + f(n1(x))),
}
PLACES = ("pre_norm", "update_norm", "post_norm")
USED = {
    None: (),
    "pre": ("pre_norm",),
    "post": ("post_norm",),
    "peri": ("pre_norm", "update_norm"),
    "deepnorm": ("post_norm",),
    "keel": ("pre_norm", "post_norm"),
}


def data(rank, seed=0, channels=6):
    return np.random.default_rng(seed).normal(size=(3, *(5, 4, 2)[:rank], channels))


def make(norm=None, layer=None, **options):
    layer = keras.layers.Dense(6, activation="tanh") if layer is None else layer
    return ks.Residual(layer, norm, **{"depth": L, "norm_epsilon": EPSILON} | options)


def normalise(residual, training=False):
    """The three normalisations of a skip, as functions in NumPy."""

    def one(place, x):
        layer = getattr(residual, place)
        name = residual.normalization
        return norm(x, layer, training) if name == "batch" else by_name(x, name, layer)

    return [functools.partial(one, place) for place in PLACES]


def dense(layer):
    return lambda x: np.tanh(conv(x, layer))


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
@pytest.mark.parametrize("norm", EQUATIONS)
def test_the_placement_of_the_norm(norm, rank):
    x = data(rank)
    r = built(make(norm), x)
    check(r, x, EQUATIONS[norm](x, dense(r.layer), *normalise(r)))
    assert tuple(place for place in PLACES if hasattr(r, place)) == USED[norm]


@pytest.mark.parametrize(
    ("normalization", "training"), [("layer", True), ("rms", False), ("batch", True), ("batch", False), ("group", True)]
)
@pytest.mark.parametrize("norm", ["peri", "keel"])
def test_normalizations_by_name_in_training_and_at_inference(norm, normalization, training):
    x = data(2)
    r = built(make(norm, normalization=normalization, norm_momentum=0.5), x)
    check(r, x, EQUATIONS[norm](x, dense(r.layer), *normalise(r, training)), training=training)
    if normalization == "batch":
        assert r.pre_norm.momentum == 0.5


def test_a_normalization_layer_is_copied_for_each_place():
    x = data(1)
    r = built(make("peri", normalization=keras.layers.UnitNormalization()), x)

    def unit(z):
        return z / np.linalg.norm(z, axis=-1, keepdims=True)

    check(r, x, x + unit(dense(r.layer)(unit(x))))
    assert r.pre_norm is not r.update_norm


SCALES = {
    "rezero": lambda r: ops.convert_to_numpy(r.layer_scale.gamma),
    "layerscale": lambda r: ops.convert_to_numpy(r.layer_scale.gamma),
    "1/sqrt(L)": lambda r: L**-0.5,
    "1/L": lambda r: 1 / L,
    0.3: lambda r: 0.3,
    2: lambda r: 2.0,
    ks.LayerScale(0.1): lambda r: ops.convert_to_numpy(r.layer_scale.gamma),
}


@pytest.mark.parametrize("norm", ["pre", "peri", "deepnorm"])
@pytest.mark.parametrize("scale", SCALES, ids=str)
def test_the_factor_of_the_update(scale, norm):
    x = data(2)
    r = built(make(norm, branch_scale=scale), x)
    n1, n2, n3 = normalise(r)
    scaled = {
        "pre": lambda s, f: x + s * f(n1(x)),
        "peri": lambda s, f: x + s * n2(f(n1(x))),
        "deepnorm": lambda s, f: n3(L**0.25 * x + s * f(x)),
    }
    check(r, x, scaled[norm](SCALES[scale](r), dense(r.layer)))


@pytest.mark.parametrize(("scale", "start", "shape"), [("rezero", 0.0, ()), ("layerscale", 1e-5, (6,))])
@pytest.mark.parametrize("make_block", [lambda **o: make(**o), lambda **o: ks.PreActivationBlock(6, **o)])
def test_learned_factors_start_as_their_papers_say(make_block, scale, start, shape):
    block = make_block(branch_scale=scale)
    block.build((None, 5, 4, 6))
    assert block.layer_scale.gamma.shape == shape
    np.testing.assert_allclose(ops.convert_to_numpy(block.layer_scale.gamma), np.full(shape, start))


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
@pytest.mark.parametrize("norm", ["peri", "keel"])
def test_a_layer_as_shortcut_gives_the_shape_of_the_update(norm, rank):
    x = data(rank)
    r = built(make(norm, keras.layers.Dense(4, activation="tanh"), shortcut=keras.layers.Dense(4)), x)
    n1, n2, n3 = normalise(r)
    f, skip = dense(r.layer), conv(x, r.shortcut)
    check(r, x, skip + n2(f(n1(x))) if norm == "peri" else n3(L * skip + f(n1(x))))
    assert r.compute_output_shape(x.shape) == (*x.shape[:-1], 4)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("shortcut", ["projection", "pad"])
def test_a_shortcut_follows_the_channels_and_the_strides_of_the_layer(shortcut, rank):
    x = data(rank)
    layer = getattr(keras.layers, f"Conv{rank}D")(8, 3, strides=2, padding="same", activation="tanh")
    r = built(make("keel", layer, shortcut=shortcut), x)
    n1, _, n3 = normalise(r)
    skip = conv(x, r.projection, 2) if shortcut == "projection" else x[(slice(None), *[slice(None, None, 2)] * rank)]
    skip = np.pad(skip, [(0, 0)] * (rank + 1) + [(0, 8 - skip.shape[-1])])
    check(r, x, n3(L * skip + np.tanh(conv(n1(x), layer, 2))))
    assert r.compute_output_shape(x.shape) == skip.shape


@pytest.mark.once
@pytest.mark.parametrize("strides", [7, 9, 12, 60])
def test_a_shortcut_follows_long_strides(strides):
    x = np.arange(130, dtype="float32").reshape(1, 130, 1)
    r = ks.Residual(keras.layers.MaxPooling1D(strides, padding="same"), shortcut="pad", data_format="channels_last")
    update = ops.convert_to_numpy(r.layer(x))
    np.testing.assert_array_equal(ops.convert_to_numpy(r(x)), x[:, ::strides] + update)


@pytest.mark.once
def test_strides_leave_out_steps_of_the_mask():
    r = ks.Residual(keras.layers.MaxPooling1D(2, padding="same"), data_format="channels_last")
    mask = np.arange(5) < np.array([[4], [3]])
    r.build((2, 5, 4))
    np.testing.assert_array_equal(r.compute_mask(np.zeros((2, 5, 4)), mask), mask[:, ::2])


@pytest.mark.parametrize("gate", [None, "highway"])
def test_an_activation_follows_the_sum_and_its_norm(gate):
    x = data(2)
    plain, activated = (built(make("post", gate=gate, activation=f), x) for f in (None, "tanh"))
    activated.set_weights(plain.get_weights())
    check(activated, x, np.tanh(ops.convert_to_numpy(plain(x))))


def test_an_activation_can_be_a_layer_that_learns():
    x = data(1)
    r = built(make(activation=keras.layers.PReLU(shared_axes=[1])), x)
    y, slope = x + dense(r.layer)(x), ops.convert_to_numpy(r.activation_after_sum.alpha)
    check(r, x, np.where(y > 0, y, slope * y))


def test_several_layers_run_one_after_the_other():
    x = data(1)
    layers = [keras.layers.Dense(9, activation="tanh"), keras.layers.Dense(6)]
    r = built(make("pre", layers), x)
    n1, *_ = normalise(r)
    check(r, x, x + conv(dense(layers[0])(n1(x)), layers[1]))
    assert r.layers == layers


@pytest.mark.parametrize("attention", ["se", "eca", ks.SqueezeExcite(2)], ids=str)
def test_channel_attention_is_the_last_layer_of_the_update_before_its_factor(attention):
    x = data(2)
    r = built(make("peri", attention=attention, branch_scale="layerscale"), x)
    n1, n2, _ = normalise(r)
    update = n2(dense(r.layer)(n1(x)))
    scaled = SCALES["layerscale"](r) * ops.convert_to_numpy(r.channel_attention(update.astype("float32")))
    check(r, x, x + scaled)
    assert isinstance(r.channel_attention, ks.EfficientChannelAttention if attention == "eca" else ks.SqueezeExcite)


@pytest.mark.parametrize(
    "options",
    [
        {"norm": "peri", "branch_scale": "layerscale", "attention": "se"},
        {"norm": "keel", "normalization": "batch", "attention": "eca", "branch_scale": 0.5},
        {"norm": "deepnorm", "normalization": "group", "gate": "highway"},
        {"norm": "pre", "gate": "review"},
        {"norm": "post", "gate": "laurel", "branch_scale": "rezero", "shortcut": "pad"},
    ],
    ids=str,
)
def test_the_channels_can_come_first(options):
    skip_without_channels_first()
    x = data(2)
    convolution = functools.partial(keras.layers.Conv2D, 8, 3, strides=2, padding="same")
    last, first = (
        make(layer=convolution(data_format=place), data_format=place, **options)
        for place in ("channels_last", "channels_first")
    )
    built(last, x)
    first.build((3, 6, 5, 4))
    first.set_weights(last.get_weights())
    for training in (False, True):
        expected = ops.convert_to_numpy(last(x.astype("float32"), training=training))
        received = ops.convert_to_numpy(first(np.moveaxis(x, -1, 1).astype("float32"), training=training))
        np.testing.assert_allclose(np.moveaxis(received, 1, -1), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("granularity", ["batch", "sample", "rows"])
@pytest.mark.parametrize(
    ("norm", "gate", "scale"),
    [(None, None, "training"), ("deepnorm", None, "inference"), ("post", "highway", "training")],
)
def test_a_dropped_update_is_zero_in_the_same_equation(norm, gate, scale, granularity):
    x = data(1)[:2]
    r = built(make(norm, gate=gate, scale=scale, branch_scale=0.5, survival_prob=0.5, granularity=granularity), x)
    after = normalise(r)[2] if norm else lambda y: y
    skip = x * L**0.25 if norm == "deepnorm" else x
    t, c = (ops.convert_to_numpy(g) for g in r.gate_layer.gates(x)) if gate else (1.0, 1.0)

    def merge(u):
        return after(t * u + c * skip)

    update = 0.5 * dense(r.layer)(x)
    check(r, x, merge(update * (0.5 if scale == "inference" else 1.0)))
    possible = [merge(0.0 * update), merge(update * (1.0 if scale == "inference" else 2.0))]
    seen = set()
    for _ in range(12):
        y = ops.convert_to_numpy(r(x.astype("float32"), training=True))
        near = [[np.abs(one - wanted).max() < 1e-4 for wanted in both] for one, *both in zip(y, *possible, strict=True)]
        assert all(sum(row) == 1 for row in near)
        seen.add(tuple(row.index(True) for row in near))
    expected = {"batch": {(0, 0), (1, 1)}, "rows": {(0, 1), (1, 0)}}.get(granularity)
    assert seen == expected if expected else len(seen) == 4


class TestTheFirstKernels:
    GAIN = (4 * L) ** -0.25

    def kernels(self, layer, x=None):
        layer.build((None, 5, 6))
        return {
            tuple(v.path.split("/")[-2:]): float(np.unique(ops.convert_to_numpy(v)).item())
            for v in layer.weights
            if v.path.split("/")[-1] in ("kernel", "bias")
        }

    def test_of_deepnorm_are_smaller_and_its_biases_are_not(self):
        layer = keras.layers.Dense(6, kernel_initializer="ones", bias_initializer="ones", name="f")
        assert self.kernels(make("deepnorm", layer)) == {
            ("f", "kernel"): pytest.approx(self.GAIN),
            ("f", "bias"): 1.0,
        }

    def test_of_other_placements_are_not(self):
        for placement in ("post", "keel"):
            layer = keras.layers.Dense(6, kernel_initializer="ones", use_bias=False, name="f")
            assert self.kernels(make(placement, layer)) == {("f", "kernel"): 1.0}

    def test_that_make_queries_and_keys_stay_as_they_are(self):
        layer = keras.layers.MultiHeadAttention(2, 3, kernel_initializer="ones", use_bias=False)
        value = pytest.approx(self.GAIN)
        expected = {"query": 1.0, "key": 1.0, "value": value, "attention_output": value}
        assert self.kernels(make("deepnorm", layer)) == {(name, "kernel"): gain for name, gain in expected.items()}

    def test_in_lists_and_in_layers_of_layers_are_smaller_too(self):
        dense = functools.partial(keras.layers.Dense, 6, kernel_initializer="ones", use_bias=False)
        layers = [keras.Sequential([dense(name="a"), dense(name="b")]), dense(name="c")]
        assert list(self.kernels(make("deepnorm", layers)).values()) == [pytest.approx(self.GAIN)] * 3

    def test_of_a_layer_that_has_its_weights_stay_as_they_are(self):
        layer = keras.layers.Dense(6, kernel_initializer="ones", use_bias=False, name="f")
        layer.build((None, 5, 6))
        assert self.kernels(make("deepnorm", layer)) == {("f", "kernel"): 1.0}

    @pytest.mark.parametrize(("is_built", "nested"), [(False, False), (False, True), (True, False), (True, True)])
    def test_are_as_small_in_a_copy_made_from_the_configuration(self, is_built, nested):
        layer = keras.layers.Dense(6, kernel_initializer="ones", use_bias=False, name="f")
        residual = make("deepnorm", keras.Sequential([layer]) if nested else layer)
        if is_built:
            residual.build((None, 5, 6))
        copy = ks.Residual.from_config(residual.get_config())
        assert self.kernels(copy) == {("f", "kernel"): pytest.approx(self.GAIN)}

    def test_that_a_file_holds_come_back(self, tmp_path):
        model = keras.Sequential([keras.Input((5, 6)), make("deepnorm")])
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        x = data(1).astype("float32")
        np.testing.assert_array_equal(ops.convert_to_numpy(again(x)), ops.convert_to_numpy(model(x)))
