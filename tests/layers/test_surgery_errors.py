"""Sums that are no skips, and models on which surgery is an error that says why."""

import keras
import pytest
from keras import layers as L
from keras import ops

import keras_skip as ks
from tests.layers.forms import Closed, around, dense

pytestmark = pytest.mark.once


def test_layers_that_share_only_a_weight_are_an_error_that_names_them():
    x = keras.Input((4,))
    one = L.Dense(4, name="one")
    model = keras.Model(x, L.Add()([x, keras.Sequential([one], name="other")(one(x))]))
    with pytest.raises(ValueError, match="weights of their own.* Received: one and other, which share one/kernel"):
        ks.add_layer_scale(model)


def pyramid(size=8):
    x = keras.Input((size, size, 3))
    one = L.Conv2D(4, 3, 2, padding="same")(x)
    two = L.Conv2D(4, 3, 2, padding="same")(one)
    top = L.Conv2D(4, 1)(two)
    return keras.Model(x, [top, L.Add()([L.Conv2D(4, 1)(one), L.UpSampling2D()(top)])])


class PositionEmbedding(L.Layer):
    def call(self, x):
        return ops.zeros_like(x) + ops.reshape(ops.arange(x.shape[1], dtype=x.dtype), (1, -1, 1))


class SeriesDecomposition(L.Layer):
    def call(self, x):
        return x - ops.mean(x, axis=1, keepdims=True)


def test_a_decomposition_is_no_position():
    x = keras.Input((4, 4))
    assert ks.list_skips(keras.Model(x, L.Add(name="sum")([x, SeriesDecomposition()(x)]))) == ["sum"]


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
        "pyramid of any size": pyramid(None),
    }


def test_other_sums_have_no_skip():
    models = others()
    assert {what: ks.list_skips(model) for what, model in models.items()} == dict.fromkeys(models, [])
    model = models["pyramid"]
    with pytest.raises(ValueError, match=f"Expected a model with sums.*Received: {model.name}, which has none$"):
        ks.add_layer_scale(model)


def test_a_sum_of_a_projected_skip_carries_no_skip_to_the_next_sum():
    x = keras.Input((4, 4))
    y = L.Add(name="one")([dense(x), dense(dense(x))])
    assert ks.list_skips(keras.Model(x, L.Add(name="two")([y, dense(dense(x))]))) == ["one"]
    y = L.Add(name="one")([x, dense(dense(x))])
    assert ks.list_skips(keras.Model(x, L.Add(name="two")([y, dense(dense(x))]))) == ["one", "two"]


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
    # A function loses the mask, so the normalisation gets it from elsewhere.
    branch = L.BatchNormalization(name="norm")(ops.relu(masked), mask=masked._keras_mask)
    model = keras.Model(steps, L.Add(name="sum")([masked, branch]))
    with pytest.raises(ValueError, match="branch of sum, in which norm also reads .*; granularity='sample'"):
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
