"""Surgery on functional models: which sums are skips, that nothing else changes, and what training drops."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_skip as ks
from keras_skip.surgery import twice_sigmoid

EDITS = {
    "sample": lambda model: ks.add_stochastic_depth(model, 0.5),
    "batch": lambda model: ks.add_stochastic_depth(model, 0.5, "batch"),
    "scale": ks.add_layer_scale,
    "attention": lambda model: ks.add_squeeze_excite(model, ratio=2),
}


def numpy(x):
    return np.array(ops.convert_to_numpy(x))


def dense(x, units=4, **options):
    return L.Dense(units, kernel_initializer=keras.initializers.RandomNormal(stddev=1.0), **options)(x)


def identity():
    x = keras.Input((4,))
    return keras.Model(x, L.Add(name="sum")([dense(x), x])), ["sum"]


def plus():
    x = keras.Input((4,))
    y = x + dense(x)
    return keras.Model(x, dense(y, 2)), [y._keras_history.operation.name]


def projection():
    x = keras.Input((6, 6, 3))
    branch = L.Conv2D(4, 3, padding="same")(L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 3, 2, padding="same")(x))))
    return keras.Model(x, L.Add(name="sum")([L.BatchNormalization()(L.Conv2D(4, 1, 2)(x)), branch])), ["sum"]


def pooled():
    x = keras.Input((6, 6, 3))
    skip = L.Conv2D(4, 1)(L.DepthwiseConv2D(3, 2, padding="same")(x))
    branch = L.Conv2D(4, 1)(L.Conv2D(4, 3, padding="same")(L.Conv2D(4, 1, 2)(x)))
    y = L.Add(name="one")([branch, skip])
    return keras.Model(x, L.Add(name="two")([L.MaxPooling2D(1, 3)(y), L.Conv2D(4, 3)(y)])), ["one", "two"]


def preactivation():
    x = keras.Input((5, 3))
    shared = L.ReLU()(L.LayerNormalization()(x))
    y = L.Add(name="one")([dense(shared), dense(dense(shared))])
    return keras.Model(x, L.Add(name="two")([y, dense(L.ReLU()(L.LayerNormalization()(y)))])), ["one", "two"]


def three():
    x = keras.Input((4,))
    return keras.Model(x, L.Add(name="sum")([dense(x), x, dense(dense(x))])), ["sum"]


def parallel():
    x = keras.Input((4,))
    one = x + dense(x)
    two = one + dense(x)
    return keras.Model(x, two), [y._keras_history.operation.name for y in (one, two)]


def nested():
    block, _ = identity()
    inner = keras.Model(block.input, block.output, name="inner")
    x = keras.Input((4,))
    return keras.Model(x, L.Add(name="outer")([x, dense(inner(inner(x)))])), ["inner/sum", "outer"]


def sequential():
    block, _ = identity()
    inner = keras.Model(block.input, block.output, name="inner")
    within = keras.Sequential([keras.Input((4,)), inner, L.Dense(4)], name="within")
    return keras.Sequential([keras.Input((4,)), within, L.Dense(2)]), ["within/inner/sum"]


def around():
    x = keras.Input((4,))
    y = L.Add(name="first")([x, dense(x)])
    y = L.Add(name="second")([y, dense(y)])
    return keras.Model(x, L.Add(name="outer")([x, dense(y)])), ["first", "second", "outer"]


def long():
    x = keras.Input((4,))
    y = L.Add(name="first")([x, dense(x)])
    y = L.Add(name="second")([y, dense(y)])
    return keras.Model(x, L.Add(name="sum")([y, dense(x)])), ["first", "second", "sum"]


def masked():
    tokens = keras.Input((5,), dtype="int32")
    x = L.Embedding(9, 4, mask_zero=True)(tokens)
    x = L.Add(name="one")([x, dense(L.BatchNormalization()(x))])
    x = L.Add(name="two")([x, L.MultiHeadAttention(2, 2)(x, x)])
    x = L.Add(name="three")([x, dense(L.ReLU()(dense(x)))])
    return keras.Model(tokens, L.GlobalAveragePooling1D()(x)), ["one", "two", "three"]


def half():
    x = keras.Input((4,))
    y = L.Dense(4, dtype="mixed_bfloat16")(x)
    branch = L.Dense(4, dtype="mixed_bfloat16")(L.Dense(4, dtype="mixed_bfloat16")(y))
    return keras.Model(x, L.Add(name="sum", dtype="mixed_bfloat16")([y, branch])), ["sum"]


def several():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    both = a + b
    y = L.Add(name="sum")([both, dense(both)])
    return keras.Model({"a": a, "b": b}, {"sum": y, "head": dense(y, 2)}), ["sum"]


FORMS = {
    form.__name__: form
    for form in (
        *(identity, plus, projection, pooled, preactivation, three, parallel),
        *(nested, sequential, around, long, masked, half, several),
    )
}


def inputs(model, size=6):
    """Examples for a model: tokens, some of them masked, or normally distributed values."""
    random = np.random.default_rng(0)

    def draw(x):
        shape = (size, *x.shape[1:])
        if x.dtype != "int32":
            return random.normal(size=shape).astype(x.dtype)
        lengths = random.integers(1, shape[1] + 1, (size, 1))
        return (random.integers(1, 9, shape) * (np.arange(shape[1]) < lengths)).astype("int32")

    given = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.tree.map_structure(draw, given)


def outputs(model, x, **options):
    return [numpy(ops.cast(y, "float32")) for y in keras.tree.flatten(model(x, **options))]


def assert_equal(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


# JAX compiles each operation of each model.
USUAL = FORMS if keras.backend.backend() == "tensorflow" else ("nested", "masked")


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("form", USUAL)
def test_the_skips_of_every_form_are_found_and_inference_stays_the_same_to_the_bit(form, edit, tmp_path):
    model, names = FORMS[form]()
    assert ks.list_skips(model) == names
    x = inputs(model)
    before, weights = outputs(model, x), [numpy(v) for v in model.variables]
    operated = EDITS[edit](model)
    assert not operated.compiled and operated.name == model.name
    assert_equal(outputs(operated, x), before)
    assert not {id(v) for v in operated.variables} & {id(v) for v in model.variables}
    operated.save(tmp_path / "model.keras")
    assert_equal(outputs(keras.models.load_model(tmp_path / "model.keras"), x), before)
    for variable in operated.variables:
        variable.assign(ops.zeros_like(variable.value))
    assert_equal(outputs(model, x), before)
    assert_equal([numpy(v) for v in model.variables], weights)


def test_structure_and_names_stay_and_the_layers_that_are_added_follow_their_branch():
    model, _ = several()
    operated = ks.add_layer_scale(ks.add_stochastic_depth(model, 0.8))
    assert operated.output.keys() == {"sum", "head"} and set(operated.input) == {"a", "b"}
    added = [layer.name for layer in operated.layers if layer.name not in {x.name for x in model.layers}]
    assert added == ["sum_scale", "sum_drop"]
    # The drop stays the last, where the next surgery finds it.
    assert operated.get_layer("sum_drop").input is operated.get_layer("sum_scale").output
    again = ks.add_layer_scale(operated, init=0.5, axis=None)
    assert again.get_layer("sum_scale_2").gamma.shape == () and again.get_layer("sum_scale").gamma.shape == (4,)


@pytest.mark.parametrize("granularity", ["sample", "batch"])
def test_survival_falls_linearly_over_all_skips(granularity):
    model, _ = nested()
    operated = ks.add_stochastic_depth(model, 0.5, granularity)
    inner = (
        operated.get_layer("outer_drop").layer.get_layer("inner")
        if granularity == "batch"
        else operated.get_layer("inner")
    )
    assert [inner.get_layer("sum_drop").survival_prob, operated.get_layer("outer_drop").survival_prob] == [0.75, 0.5]


def test_rows_run_the_branch_on_the_rows_that_survive():
    model, _ = identity()
    x = inputs(model, 8)
    operated = ks.add_stochastic_depth(model, 0.5, "rows")
    assert operated.get_layer("sum_drop").granularity == "rows"
    assert_equal(outputs(operated, x), outputs(model, x))
    changed = np.abs(numpy(operated(x, training=True)) - x).max(axis=1) > 0
    assert changed.sum() == 4


@pytest.mark.parametrize("granularity", ["sample", "batch"])
def test_training_drops_the_branch_for_each_sample_or_for_all(granularity):
    model, _ = identity()
    operated = ks.add_stochastic_depth(model, 0.5, granularity, seed=1)
    x = inputs(model, 32)
    kept = x + 2 * (numpy(model(x)) - x)
    seen = set()
    for _ in range(12):
        y = numpy(operated(x, training=True))
        survives = np.abs(y - x).max(axis=1) > 0
        np.testing.assert_allclose(y, np.where(survives[:, None], kept, x), atol=1e-5)
        seen.add(survives.sum())
    assert seen == {0, 32} if granularity == "batch" else len(seen) > 2 and 0 not in seen


def test_what_is_dropped_is_not_computed():
    model, _ = projection()
    operated = ks.add_stochastic_depth(model, 1e-6, "batch")
    branch = operated.get_layer("sum_drop").layer
    (norm,) = (layer for layer in branch.layers if isinstance(layer, L.BatchNormalization))
    before = numpy(norm.moving_mean)
    operated(inputs(model), training=True)
    np.testing.assert_array_equal(numpy(norm.moving_mean), before)


def test_draws_follow_the_seed_and_differ_between_the_skips():
    model, names = around()
    x = inputs(model, 64)
    one, other = (ks.add_stochastic_depth(model, 0.5, seed=3) for _ in range(2))
    assert_equal(outputs(one, x, training=True), outputs(other, x, training=True))
    assert len({one.get_layer(f"{name}_drop").seed for name in names}) == 3


class DropPath(L.Layer):
    """As libraries have it: a class of this name."""

    def call(self, x, training=None):
        return x * 0.0 if training else x


@pytest.mark.parametrize("make", [lambda: L.Dropout(0.9, noise_shape=(None, 1)), lambda: ks.DropPath(0.9), DropPath])
@pytest.mark.parametrize("granularity", ["sample", "batch"])
def test_what_drops_the_branch_already_is_replaced(make, granularity):
    x = keras.Input((4,))
    model = keras.Model(x, L.Add(name="sum")([x, make()(dense(x))]))
    operated = ks.add_stochastic_depth(model, 0.8, granularity)
    kinds = [type(layer) for layer in operated.layers]
    assert kinds == (
        [L.InputLayer, L.Dense, ks.DropPath, L.Add]
        if granularity == "sample"
        else [L.InputLayer, ks.StochasticDepth, L.Add]
    )
    assert operated.get_layer("sum_drop").survival_prob == pytest.approx(0.8)
    assert isinstance(ks.add_layer_scale(model).layers[3], type(model.layers[2]))


@pytest.mark.parametrize("first", ["sample", "batch"])
@pytest.mark.parametrize("second", ["sample", "batch"])
def test_surgery_again_replaces_the_first(first, second):
    model, _ = identity()
    x = inputs(model)
    operated = ks.add_stochastic_depth(ks.add_stochastic_depth(model, 0.5, first), 0.9, second)
    assert_equal(outputs(operated, x), outputs(model, x))
    drops = [layer for layer in operated._flatten_layers() if hasattr(layer, "survival_prob")]
    assert [(drop.name, drop.survival_prob) for drop in drops] == [("sum_drop", pytest.approx(0.9))]
    assert isinstance(drops[0], ks.DropPath) == (second == "sample")


@pytest.mark.parametrize("granularity", ["sample", "batch"])
def test_a_layer_that_is_dropped_at_the_end_of_a_branch_stays_and_is_dropped_anew(granularity):
    x = keras.Input((4,))
    model = keras.Model(x, L.Add(name="sum")([x, ks.StochasticDepth(L.Dense(4), 0.5)(L.LayerNormalization()(x))]))
    operated = ks.add_stochastic_depth(model, 0.9, granularity)
    assert_equal(outputs(operated, inputs(model)), outputs(model, inputs(model)))
    found = [layer.survival_prob for layer in operated._flatten_layers() if hasattr(layer, "survival_prob")]
    assert found == [pytest.approx(0.9)] and len(operated.weights) == len(model.weights)


@pytest.mark.parametrize("noise_shape", [None, (1, 4)])
def test_other_dropout_stays(noise_shape):
    x = keras.Input((4,))
    model = keras.Model(x, L.Add()([x, L.Dropout(0.3, noise_shape)(dense(x))]))
    assert [type(layer) for layer in ks.add_stochastic_depth(model, 0.8).layers[2:4]] == [L.Dropout, ks.DropPath]


@pytest.mark.parametrize("granularity", ["sample", "batch"])
def test_the_new_model_learns_and_the_given_one_does_not(granularity):
    model, _ = projection()
    before = [numpy(v) for v in model.variables]
    operated = ks.add_layer_scale(ks.add_squeeze_excite(ks.add_stochastic_depth(model, 0.5, granularity)))
    operated.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=keras.backend.backend() == "jax")
    started = [numpy(v) for v in operated.trainable_variables]
    operated.fit(inputs(model), np.zeros((6, 3, 3, 4), "float32"), batch_size=2, epochs=2, verbose=0)
    moved = [np.any(numpy(v) != a) for v, a in zip(operated.trainable_variables, started, strict=True)]
    # W1 has no gradient until W2 has left zero, which takes one step.
    assert all(moved)
    assert_equal([numpy(v) for v in model.variables], before)


def test_the_gate_of_the_attention_starts_at_one_and_lies_between_zero_and_two():
    np.testing.assert_array_equal(numpy(twice_sigmoid(np.array([-200.0, 0.0, 200.0], "float32"))), [0, 1, 2])
    model, _ = projection()
    layer = ks.add_squeeze_excite(model, ratio=2, data_format="channels_last").get_layer("sum_attention")
    assert (layer.reduce.units, np.abs(numpy(layer.expand.kernel)).max()) == (2, 0)
    assert np.abs(numpy(layer.reduce.kernel)).min() > 0


def test_layers_that_are_added_compute_in_the_type_of_their_branch():
    model, _ = half()
    layer = ks.add_layer_scale(model).get_layer("sum_scale")
    assert (layer.compute_dtype, layer.gamma.dtype) == ("bfloat16", "float32")
    assert ks.add_stochastic_depth(model, 0.5, "batch").get_layer("sum_drop").compute_dtype == "bfloat16"


def test_what_is_frozen_stays_frozen():
    x = keras.Input((4, 4, 4))
    block = ks.ResidualBlock(4)
    y = block(x)
    model = keras.Model(x, L.Add(name="sum")([y, L.Conv2D(4, 1, name="conv")(L.Conv2D(4, 1, name="free")(y))]))
    block.norm1.trainable = model.get_layer("conv").trainable = False
    operated = ks.add_stochastic_depth(model, 0.5)
    names = [v.path.split("/", 1)[1] for v in operated.trainable_variables]
    assert names == [v.path.split("/", 1)[1] for v in model.trainable_variables] and "norm1/gamma" not in names
    closed = Closed(name="closed")
    model = keras.Model(x, L.Add()([x, closed(x)]))
    closed.inner.trainable = False  # no configuration has this
    assert not ks.add_stochastic_depth(model, 0.5).get_layer("closed").inner.trainable
    inner, _ = identity()
    inner.trainable = False
    x = keras.Input((4,))
    operated = ks.add_layer_scale(keras.Model(x, inner(x)))
    assert not operated.get_layer(inner.name).trainable and not operated.trainable_variables


def test_shared_layers_stay_shared():
    x = keras.Input((4,))
    shared = L.Dense(4, name="shared")
    y = L.Add(name="one")([x, shared(x)])
    model = keras.Model(x, L.Add(name="two")([y, shared(y)]))
    operated = ks.add_layer_scale(model, axis=None)
    assert_equal(outputs(operated, inputs(model)), outputs(model, inputs(model)))
    assert len(operated.weights) == len(model.weights) + 2
    with pytest.raises(ValueError, match="branch of one, in which shared is also called elsewhere; .*'sample'"):
        ks.add_stochastic_depth(model, 0.5, "batch")


def test_layers_that_share_only_a_weight_are_an_error_that_names_them():
    x = keras.Input((4,))
    one = L.Dense(4, name="one")
    model = keras.Model(x, L.Add()([x, keras.Sequential([one], name="other")(one(x))]))
    with pytest.raises(ValueError, match="weights of their own.* Received: one and other, which share one/kernel"):
        ks.add_layer_scale(model)


def test_functions_that_are_no_layers_and_lambdas_are_copied():
    x = keras.Input((4, 6))
    branch = ops.transpose(L.Lambda(lambda x: 2 * x)(x)[:, :4], (0, 1, 2))
    model = keras.Model(x, L.Add(name="sum")([x, branch]))
    assert_equal(outputs(ks.add_layer_scale(model), inputs(model)), outputs(model, inputs(model)))


@pytest.mark.parametrize("form", ["projection", "three", "nested", "long"])
def test_without_a_skip_or_a_branch_the_sum_gives_the_rest(form):
    model, names = FORMS[form]()
    x = inputs(model)
    find = model if form != "nested" else model.get_layer("inner")
    graph = keras.Model(find.input, find.get_layer("sum").input)
    terms = [numpy(term) for term in graph(x)]
    skip = {"projection": 0, "three": 1, "nested": 1, "long": 1}[form]
    branches = sum(term for place, term in enumerate(terms) if place != skip)
    for edit, expected in ((ks.without_skip, branches), (ks.without_branch, terms[skip])):
        operated = edit(model, names[-1] if form == "long" else names[0])
        part = operated if form != "nested" else operated.get_layer("inner")
        sums = keras.Model(part.input, part.get_layer("sum").output)
        np.testing.assert_allclose(numpy(sums(x)), expected, atol=1e-5)
        assert operated.output_names == model.output_names


def pyramid():
    x = keras.Input((8, 8, 3))
    one = L.Conv2D(4, 3, 2, padding="same")(x)
    two = L.Conv2D(4, 3, 2, padding="same")(one)
    top = L.Conv2D(4, 1)(two)
    return keras.Model(x, [top, L.Add()([L.Conv2D(4, 1)(one), L.UpSampling2D()(top)])])


class PositionEmbedding(L.Layer):
    def call(self, x):
        return ops.zeros_like(x) + ops.reshape(ops.arange(x.shape[1], dtype=x.dtype), (1, -1, 1))


def others():
    x, y, tokens = keras.Input((4, 4)), keras.Input((4, 4)), keras.Input((4,), dtype="int32")
    embedded = L.Embedding(5, 4)(tokens)
    half, rest = ops.split(x, 2, axis=-1)
    return {
        "two inputs": keras.Model([x, y], x + y),
        "the same twice": keras.Model(x, x + x),
        "positions": keras.Model(tokens, embedded + PositionEmbedding()(embedded)),
        "equal paths": keras.Model(x, dense(x) + dense(x)),
        "two projections": keras.Model(x, dense(dense(x)) + dense(dense(dense(x)))),
        "broadcast": keras.Model(x, x + dense(x, 1)),
        "halves": keras.Model(x, half + dense(rest, 2)),
        "integers": keras.Model(tokens, tokens + 2 * tokens),
        "a skip with another input": keras.Model([x, y], dense(x) * y + dense(dense(x))),
        "pyramid": pyramid(),
    }


def test_other_sums_are_no_skips():
    models = others()
    assert {what: ks.list_skips(model) for what, model in models.items()} == dict.fromkeys(models, [])
    model = models["pyramid"]
    with pytest.raises(ValueError, match=f"Expected a model with sums.*Received: {model.name}, which has none$"):
        ks.add_layer_scale(model)


class Closed(L.Layer):
    """A layer of layers, which hides its skip."""

    def __init__(self, **options):
        super().__init__(**options)
        self.inner = L.Dense(4)

    def call(self, x):
        return x + self.inner(x)


class Subclassed(keras.Model):
    def call(self, x):
        return x


def test_errors_name_the_layer_and_what_to_do():
    x = keras.Input((4,))
    hidden = keras.Model(x, Closed(name="last")(Closed(name="first")(x)))
    with pytest.raises(ValueError, match=r"inside its layers cannot be seen: 2 Closed \(first, ...\)$"):
        ks.add_squeeze_excite(hidden)
    for wrong in (Subclassed(name="mine"), keras.Sequential([L.Dense(4)], name="mine")):
        with pytest.raises(ValueError, match=r"Expected a functional model, .* Received: mine \("):
            ks.list_skips(wrong)
    model, _ = around()
    with pytest.raises(ValueError, match=r"such as \['second'.*Received: name='secnd'"):
        ks.without_branch(model, "secnd")
    for wrong in ({"survival_prob": 0.0}, {"survival_prob": 0.5, "granularity": "row"}):
        with pytest.raises(ValueError, match="Expected .* Received: "):
            ks.add_stochastic_depth(model, **wrong)


def test_a_branch_that_cannot_be_left_out_is_an_error_that_says_why():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    model = keras.Model([a, b], L.Add(name="sum")([a, dense(L.Concatenate(name="join")([a, b]))]))
    with pytest.raises(ValueError, match="branch of sum, in which join also reads the input b; granularity='sample'"):
        ks.add_stochastic_depth(model, 0.5, "batch")
    inside = dense(a, name="inside")
    model = keras.Model(a, [L.Add(name="sum")([a, dense(inside)]), dense(inside, name="reader")])
    with pytest.raises(ValueError, match="branch of sum, in which reader also reads inside; granularity='sample'"):
        ks.add_stochastic_depth(model, 0.5, "batch")
    assert ks.add_stochastic_depth(model, 0.5).get_layer("sum_drop").rate == 0.5
    steps = keras.Input((5, 3))
    masked = L.Masking()(steps)
    branch = dense(dense(L.Masking(7.0)(masked)))
    model = keras.Model(steps, L.Add(name="sum")([dense(masked), branch]))
    with pytest.raises(ValueError, match="branch of sum, which changes it; granularity='sample'"):
        ks.add_stochastic_depth(model, 0.5, "batch")


class Forgetful(L.Layer):
    """A layer whose configuration lacks an argument."""

    def __init__(self, units=3, **options):
        super().__init__(**options)
        self.units = units

    def build(self, shape):
        self.kernel = self.add_weight((shape[-1], self.units))

    def call(self, x):
        return x @ self.kernel

    def get_config(self):
        return L.Layer.get_config(L.Layer(name=self.name))


def test_a_layer_that_cannot_be_copied_is_named():
    x = keras.Input((4,))
    model = keras.Model(x, dense(Forgetful(5, name="lost")(L.Add()([x, dense(x)]))))
    with pytest.raises(
        ValueError, match=r"Received: lost \(Forgetful\) with weights of shapes \[\(4, 5\)\]; its copy has \[\(4, 3"
    ):
        ks.add_layer_scale(model)
