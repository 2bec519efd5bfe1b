"""The gates of highway networks: those of the layers themselves, in a table and in figures."""

import keras
import numpy as np
import pytest

import zoo
from zoo.analysis import charts, gating

DIGITS = zoo.load_source("digits")


def by_hand(model, images):
    """T, C and y of each highway layer, (images, units), each layer being run by itself."""
    found, x = [], images
    for layer in model.layers[1:]:
        if isinstance(layer, gating.HighwayBlock):
            found.append([*map(keras.ops.convert_to_numpy, (*layer.gates(x), layer(x)))])
        x = layer(x)
    return [[value.reshape(len(images), -1, value.shape[-1]).mean(axis=1) for value in values] for values in found]


@pytest.mark.parametrize(
    ("network", "arguments"),
    [("highway_mlp", {"depth": 4}), ("highway_mnist_16", {"depth": 4})],
)
def test_means_are_those_of_the_layers_and_of_each_class(network, arguments):
    model = zoo.build(network, (8, 8, 1), **arguments)
    for layer in gating.highway_layers(model):
        layer.transform_gate.bias.assign(np.random.default_rng(0).normal(size=layer.transform_gate.bias.shape))
    # More than one batch, the last of which is smaller.
    found = zoo.gates(model, DIGITS, examples=300, example=299)
    labels = DIGITS.test_targets[:300]
    images = DIGITS.preprocessing(DIGITS.test_inputs[:300])
    expected = by_hand(model, images)
    assert [layer.layer for layer in found.layers] == [layer.name for layer in gating.highway_layers(model)]
    for layer, (transform, carry, output) in zip(found.layers, expected, strict=True):
        np.testing.assert_allclose(layer.transform, transform.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(layer.carry, carry.mean(axis=0), atol=1e-5)
        for place in range(10):
            np.testing.assert_allclose(layer.class_transform[place], transform[labels == place].mean(axis=0), atol=1e-5)
            np.testing.assert_allclose(layer.class_carry[place], carry[labels == place].mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(layer.example_transform, transform[299], atol=1e-5)
        np.testing.assert_allclose(layer.example_output, output[299], rtol=1e-4, atol=1e-5)
    assert found.example == DIGITS.class_names[labels[299]]


def test_very_negative_biases_carry_everything():
    found = zoo.gates(zoo.build("highway_mlp", depth=5, carry="coupled", transform_bias=-20.0), "digits", examples=50)
    for layer in found.layers:
        assert layer.carry_bias is None
        assert layer.carry.min() > 0.99 and layer.transform.max() < 0.01
        np.testing.assert_allclose(layer.carry, 1 - layer.transform, atol=1e-6)
        # So the image comes through as it was.
        np.testing.assert_allclose(layer.example_output, found.layers[0].example_output, atol=1e-3)


def test_table_and_figures_show_what_was_found():
    found = zoo.gates("highway_mlp", weights="digits", examples=40)
    table = list(gating.rows(found))
    assert len(table) == 10 * 64 * (3 + 10)
    (row,) = [row for row in table if (row.place, row.unit, row.what) == (3, 5, "class 7")]
    assert row.transform == found.layers[2].class_transform[7, 5]
    (row,) = [row for row in table if (row.place, row.unit, row.what) == (3, 5, "bias")]
    assert (row.transform, row.carry) == (found.layers[2].transform_bias[5], found.layers[2].carry_bias[5])
    biases, transform, carry, path, output, scatter = charts.gates(found).axes[:6]
    for axes, name in ((biases, "transform_bias"), (transform, "transform"), (carry, "carry")):
        np.testing.assert_allclose(axes.images[0].get_array(), [getattr(layer, name) for layer in found.layers])
    np.testing.assert_allclose(path.images[0].get_array(), [layer.example_transform for layer in found.layers])
    np.testing.assert_allclose(output.images[0].get_array(), [layer.example_output for layer in found.layers])
    assert scatter.get_xlabel() == "transform gate bias" and len(scatter.collections[0].get_offsets()) == 640
    classes = charts.class_gates(found).axes
    assert [axes.get_title() for axes in classes[:10]] == list("0123456789")
    difference = [layer.class_transform[7] - layer.transform for layer in found.layers]
    np.testing.assert_allclose(classes[7].images[0].get_array(), difference)


def test_layers_of_different_width_are_drawn_side_by_side():
    def layer(units):
        ones = np.ones(units)
        return gating.LayerGates("layer", ones, None, ones, ones, ones[None], ones[None], ones, ones, ones)

    found = gating.Gates("widths", ("only",), (layer(2), layer(3)), "only")
    drawn = charts.gates(found).axes[1].images[0].get_array()
    assert np.ma.filled(drawn, np.nan).shape == (2, 3) and bool(np.isnan(np.ma.filled(drawn, np.nan)[0, 2]))


def test_networks_without_gates_and_images_that_are_not_there_are_a_sentence():
    with pytest.raises(ValueError, match="Expected a network with highway layers. Received: plain_mlp, which has none"):
        zoo.gates(zoo.build("plain_mlp"), "digits")
    with pytest.raises(ValueError, match="Expected example to be one of the 5 images. Received: example=5"):
        zoo.gates(zoo.build("highway_mlp"), "digits", examples=5, example=5)
