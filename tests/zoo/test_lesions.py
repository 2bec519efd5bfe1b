"""Layers that only carry: what a closed block computes, and what is left of a network."""

import keras
import numpy as np
import pytest

import keras_skip
import zoo
from zoo.analysis import charts
from zoo.analysis.lesions import RESIDUAL, force_carry

X = np.random.default_rng(0).normal(size=(2, 4, 4, 8)).astype("float32")


def numpy_of(x):
    return keras.ops.convert_to_numpy(x)


def shaken(block):
    """The block on X, with random weights and statistics in place of zeros and ones."""
    block(X)
    for place, variable in enumerate(block.weights):
        variable.assign(np.random.default_rng(place).uniform(0.1, 1.0, variable.shape))
    return block


@pytest.mark.parametrize("kind", RESIDUAL)
@pytest.mark.parametrize("normalization", ["batch", None])
def test_a_closed_residual_block_is_its_shortcut(kind, normalization):
    block = shaken(kind(8, normalization=normalization, use_bias=True))
    before = numpy_of(block(X))
    with force_carry(block):
        closed = numpy_of(block(X))
    # In the pre-activation blocks nothing follows the sum.
    follows = kind in (keras_skip.ResidualBlock, keras_skip.BottleneckBlock)
    np.testing.assert_allclose(closed, np.maximum(X, 0) if follows else X, atol=1e-6)
    np.testing.assert_array_equal(numpy_of(block(X)), before)
    assert np.abs(closed - before).max() > 0.1


@pytest.mark.parametrize("options", [{}, {"norm": "peri"}, {"branch_scale": "layerscale"}])
@pytest.mark.parametrize("last", [keras.layers.Dense(8), keras.layers.BatchNormalization()])
def test_a_closed_skip_around_any_layer_is_its_input(options, last):
    block = shaken(keras_skip.Residual([keras.layers.Dense(8), type(last).from_config(last.get_config())], **options))
    before = numpy_of(block(X))
    with force_carry(block):
        np.testing.assert_allclose(numpy_of(block(X)), X, atol=1e-6)
    np.testing.assert_array_equal(numpy_of(block(X)), before)
    assert np.abs(before - X).max() > 0.1


def test_the_lesions_of_a_network_with_skips_around_any_layer():
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(inputs)
    x = keras_skip.Residual(keras.layers.Dense(64), norm="pre", name="first")(x)
    x = keras_skip.Residual(keras.layers.Dense(64), gate="highway", name="second")(x)
    model = keras.Model(inputs, keras.layers.Dense(10)(x))
    whole, *lesions = zoo.lesion(model, "digits", examples=32)
    assert [one.layer for one in lesions] == ["first", "second"]
    assert all(one.loss != whole.loss for one in lesions)


@pytest.mark.parametrize("carry", ["coupled", "learned"])
def test_a_closed_highway_layer_is_the_identity(carry):
    block = shaken(keras_skip.HighwayBlock(kernel_size=3, carry=carry))
    before = numpy_of(block(X))
    with force_carry(block):
        np.testing.assert_array_equal(numpy_of(block(X)), X)
    np.testing.assert_array_equal(numpy_of(block(X)), before)


def test_the_lesion_of_a_layer_that_carries_everything_changes_nothing():
    model = zoo.load("highway_mlp", weights="digits")
    block = model.get_layer("block4")
    for gate, bias in ((block.transform_gate, -100.0), (block.carry_gate, 100.0)):
        gate.kernel.assign(keras.ops.zeros_like(gate.kernel))
        gate.bias.assign(keras.ops.full(gate.bias.shape, bias))
    weights = model.get_weights()
    whole, *lesions = zoo.lesion(model, "digits")
    assert (whole.place, whole.layer) == (0, "")
    assert [one.layer for one in lesions] == [f"block{place}" for place in range(1, 11)]
    assert (lesions[3].accuracy, lesions[3].loss) == (whole.accuracy, whole.loss)
    assert all(one.loss != whole.loss for one in lesions if one.place != 4)
    for ours, theirs in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_lesion_of_a_residual_network_is_the_network_without_the_branch():
    model = zoo.load("residual_mlp", weights="digits")
    whole, *lesions = zoo.lesion("residual_mlp", "digits", weights="digits", examples=100)
    source = zoo.load_source("digits")
    x = source.preprocessing(source.test_inputs[:100])
    for layer in model.layers[1:]:
        x = keras.ops.relu(x) if layer.name == "block2" else layer(x)
    right = numpy_of(x).argmax(axis=1) == source.test_targets[:100]
    assert lesions[1].accuracy == pytest.approx(right.mean())
    assert whole.accuracy > 0.9


def functional(name="others"):
    """A network for digits without layers of keras_skip: one sum in an inner model, and one with a projection."""
    x = keras.Input((8, 8, 4))
    branch = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="within")(x)
    inner = keras.Model(x, keras.layers.Add(name="sum")([x, branch]), name="inner")
    images = keras.Input((8, 8, 1))
    y = inner(keras.layers.Conv2D(4, 3, padding="same")(images))
    branch = keras.layers.Conv2D(8, 3, strides=2, padding="same", name="one")(y)
    branch = keras.layers.Conv2D(8, 3, padding="same", name="two")(branch)
    y = keras.layers.Add(name="last")([keras.layers.Conv2D(8, 1, strides=2)(y), branch])
    return keras.Model(images, keras.layers.Dense(10)(keras.layers.Flatten()(y)), name=name)


@pytest.mark.parametrize("edit", [None, lambda model: keras_skip.add_layer_scale(model, 0.5)])
def test_a_network_of_sums_loses_the_branch_of_each(edit):
    model = functional() if edit is None else edit(functional())
    weights = model.get_weights()
    whole, *lesions = zoo.lesion(model, "digits", examples=200)
    assert [(one.network, one.layer) for one in lesions] == [("others", "inner/sum"), ("others", "last")]
    for one in lesions:
        rest, *_ = zoo.lesion(keras_skip.without_branch(model, one.layer), "digits", examples=200)
        assert (one.accuracy, one.loss) == pytest.approx((rest.accuracy, rest.loss), abs=1e-6)
        assert one.loss != whole.loss
    source = zoo.load_source("digits")
    right = numpy_of(model(source.preprocessing(source.test_inputs[:200]))).argmax(1) == source.test_targets[:200]
    assert whole.accuracy == pytest.approx(right.mean())
    for ours, theirs in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("granularity", ["sample", "batch"])
def test_the_other_analyses_see_what_surgery_adds(granularity):
    model = keras_skip.add_stochastic_depth(functional(), 1e-6, granularity)
    found = zoo.survival_profile(model)
    assert [block.layer for block in found] == ["inner/sum_drop", "last_drop"]
    assert [block.probability for block in found] == pytest.approx([0.5, 0.0], abs=1e-5)
    images = np.random.default_rng(0).normal(size=(16, 8, 8, 1)).astype("float32")
    norms = zoo.GradientProbe(model, once=True).measure(images, np.eye(10, dtype="float32")[np.arange(16) % 10])
    # Half of the draws leave the branch inside.
    assert len(norms) == 6 and {norm.layer for norm in norms if norm.norm == 0} - {"within"} == {"one", "two"}


def test_figure_shows_each_layer_and_the_whole():
    rows = [zoo.analysis.lesions.Lesion("net", 0, "", 0.9, 0.3)]
    names = ["stage1_block1", "stage1_block2", "stage2_block1"]
    rows += [zoo.analysis.lesions.Lesion("net", n, name, 0.5 + n / 10, 1.0) for n, name in enumerate(names, 1)]
    (axes,) = charts.lesion(rows).axes
    without, whole, stage = axes.lines
    np.testing.assert_allclose(without.get_xydata(), [[1, 60], [2, 70], [3, 80]])
    np.testing.assert_allclose(whole.get_ydata(), [90, 90])
    np.testing.assert_allclose(stage.get_xdata(), [2.5, 2.5])
    assert axes.get_xlabel() and axes.get_ylabel() == "accuracy, %"


def test_a_network_without_such_layers_is_a_sentence():
    with pytest.raises(
        ValueError, match="Expected a network of highway layers or residual blocks, or .* Received: plain_mlp"
    ):
        zoo.lesion(zoo.build("plain_mlp"), "digits")
