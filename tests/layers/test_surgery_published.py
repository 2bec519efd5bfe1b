"""Surgery on networks that others built: of keras.applications, and of keras-hub if it is installed."""

from importlib import util

import keras
import numpy as np
import pytest
from keras import ops

import keras_skip as ks
from tests.sweep import sweep

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="JAX compiles each operation of each network, for minutes"
)
# How many skips there are, the first and the last, and how many of their branches the network drops itself.
NETWORKS = {
    "MobileNetV2": (10, "block_2_add", "block_15_add", 0),
    "ResNet50": (16, "conv2_block1_add", "conv5_block3_add", 0),
    "ResNet50V2": (16, "conv2_block1_out", "conv5_block3_out", 0),
    "ConvNeXtTiny": (18, "add", "add_17", 0),
    "EfficientNetV2B0": (15, "block2b_add", "block6h_add", 15),
}


def build(name):
    more = {"alpha": 0.35} if name == "MobileNetV2" else {}
    make = getattr(keras.applications, name)
    return make(weights=None, include_top=False, pooling="avg", input_shape=(32, 32, 3), **more)


def numpy(x):
    return np.array(ops.convert_to_numpy(x))


@pytest.mark.parametrize("name", sweep(NETWORKS, lambda name: name == "MobileNetV2"))
def test_networks_of_keras_applications(name, tmp_path):
    keras.backend.clear_session()  # ConvNeXt's sums are called by the number of sums so far
    model = build(name)
    number, first, last, dropped = NETWORKS[name]
    names = ks.list_skips(model)
    assert (len(names), names[0], names[-1]) == (number, first, last)
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    before = numpy(model(x))
    assert np.ptp(before) > 0
    operated = ks.add_squeeze_excite(ks.add_layer_scale(ks.add_stochastic_depth(model, 0.5)))
    added = {layer.name for layer in operated.layers} - {layer.name for layer in model.layers}
    assert added == {f"{sum_name}_{suffix}" for sum_name in names for suffix in ("drop", "scale", "attention")}
    assert len(operated.layers) == len(model.layers) + 3 * number - dropped
    np.testing.assert_array_equal(numpy(operated(x)), before)
    ks.add_stochastic_depth(model, 0.5, "batch").save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(numpy(again(x)), before)
    assert sum(isinstance(layer, ks.StochasticDepth) for layer in again.layers) == number
    for edit in (ks.without_skip, ks.without_branch):
        assert ks.list_skips(edit(model, first)) == names[1:]


# The bench of the published networks has small arguments for all of them.
HUB = {
    "ResNetBackbone": ["stack0_block0_add", "stack1_block0_add", "stack2_block0_add", "stack3_block0_add"],
    "CSPNetBackbone": ["stage_0_block_0_dark_block_add", "stage_1_block_0_dark_block_add"],
    "XceptionBackbone": ["block2_residual_add"],
}
XCEPTION = {
    "stackwise_conv_filters": [[8, 16], [16, 16], [16, 16]],
    "stackwise_pooling": [True, False, True],
    "image_shape": (32, 32, 3),
}


@pytest.mark.skipif(
    util.find_spec("keras_hub") is None, reason="needs keras-hub: benchmarks/published/requirements.txt"
)
@pytest.mark.parametrize("name", HUB)
def test_backbones_of_keras_hub(name):
    from benchmarks.published.keras_hub_images import HUB_IMAGES

    if name == "XceptionBackbone":
        import keras_hub

        model = keras_hub.models.XceptionBackbone(**XCEPTION)
    else:
        model = next(network for network in HUB_IMAGES if network.path.endswith(name)).build()
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    assert ks.list_skips(model) == HUB[name]
    before = numpy(model(x))
    for operated in (ks.add_stochastic_depth(model, 0.5), ks.add_layer_scale(model), ks.add_squeeze_excite(model)):
        np.testing.assert_array_equal(numpy(operated(x)), before)
        assert np.all(np.isfinite(numpy(operated(x, training=True))))


@pytest.mark.skipif(
    util.find_spec("keras_hub") is None, reason="needs keras-hub: benchmarks/published/requirements.txt"
)
def test_a_backbone_of_keras_hub_that_hides_its_skips_is_an_error_that_names_the_layers():
    from benchmarks.published.keras_hub_tokens import HUB_TOKENS

    model = next(network for network in HUB_TOKENS if network.path.endswith("BertBackbone")).build()
    with pytest.raises(ValueError, match=r"cannot be seen: 2 TransformerEncoder \(transformer_layer_0, ...\)"):
        ks.add_stochastic_depth(model, 0.5)
