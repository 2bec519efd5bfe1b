"""The vanishing product, survival profiles and feature reuse: the figures' data against the formulas."""

import keras
import numpy as np
import pytest

import zoo
from zoo.analysis import charts


def test_the_product_of_derivatives_vanishes_unless_something_is_carried():
    products = zoo.vanishing_product(0.8, layers=20)
    ends = {product.connection.split(":")[0]: product.gradient for product in products if product.layers == 20}
    assert ends["plain"] == pytest.approx(0.8**20) and ends["plain"] < 0.012
    assert ends["residual"] == pytest.approx(1.8**20)
    gate = 1 / (1 + np.exp(2.0))
    assert ends["highway"] == pytest.approx((gate * 0.8 + 1 - gate) ** 20) and ends["highway"] > 0.6
    (axes,) = charts.vanishing_product(products).axes
    assert axes.get_yscale() == "log"
    plain = axes.lines[1]
    np.testing.assert_allclose(plain.get_ydata(), 0.8 ** np.arange(21))


@pytest.mark.parametrize(("arguments", "said"), [({"derivative": 0.0}, "derivative=0.0"), ({"layers": 0}, "layers=0")])
def test_a_product_of_nothing_is_a_sentence(arguments, said):
    with pytest.raises(ValueError, match=said):
        zoo.vanishing_product(**arguments)


def test_the_survival_profile_falls_linearly():
    model = zoo.build("stochastic_resnet110", (8, 8, 1), depth=20, survival_prob=0.4)
    found = zoo.survival_profile(model)
    expected = [1 - place / 9 * (1 - 0.4) for place in range(1, 10)]
    assert [block.probability for block in found] == pytest.approx(expected)
    assert [block.place for block in found] == list(range(1, 10))
    (axes,) = charts.survival(found).axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), expected)
    assert (
        axes.get_legend().get_texts()[0].get_text()
        == f"stochastic_resnet20: {sum(expected):.3g} of 9 blocks run on average"
    )
    assert {block.probability for block in zoo.survival_profile(zoo.build("dense_mlp"))} == {1.0}
    with pytest.raises(ValueError, match="Received: plain_mlp"):
        zoo.survival_profile(zoo.build("plain_mlp"))


def test_feature_reuse_is_the_mean_absolute_weight_of_each_source():
    model = zoo.build("densenet_bc_100_12", (8, 8, 1), depth=16, growth_rate=4)
    found = {(pair.block, pair.source, pair.target): pair.norm for pair in zoo.feature_reuse(model)}
    # Two layers in each block: 1 + 2 sources for them, and 3 for what follows.
    assert len(found) == 3 * 6
    block = model.get_layer("block2")
    stem = block.input.shape[-1]
    first, second, after = (
        keras.ops.convert_to_numpy(layer.kernel)
        for layer in (block.layer1.conv1, block.layer2.conv1, model.get_layer("transition2").conv1)
    )
    assert found["block2", 0, 1] == pytest.approx(np.abs(first).mean())
    assert found["block2", 0, 2] == pytest.approx(np.abs(second[..., :stem, :]).mean())
    assert found["block2", 1, 2] == pytest.approx(np.abs(second[..., stem:, :]).mean())
    assert found["block2", 2, 3] == pytest.approx(np.abs(after[..., stem + 4 :, :]).mean())
    head = keras.ops.convert_to_numpy(model.get_layer("head").kernel)
    assert found["block3", 2, 3] == pytest.approx(np.abs(head[-4:]).mean())


def test_the_heat_map_shows_shares_of_each_targets_largest():
    found = zoo.feature_reuse(zoo.load("dense_mlp", weights="digits"))
    axes, _ = charts.feature_reuse(found).axes
    drawn = np.ma.filled(axes.images[0].get_array(), np.nan)
    norms = np.full(drawn.shape, np.nan)
    for pair in found:
        norms[pair.source, pair.target - 1] = pair.norm
    np.testing.assert_allclose(drawn, norms / np.nanmax(norms, axis=0))
    assert "head" in axes.get_xlabel()
    with pytest.raises(ValueError, match="Expected a network with dense blocks. Received: plain_mlp"):
        zoo.feature_reuse(zoo.build("plain_mlp"))
