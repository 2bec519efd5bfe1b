"""Learned skips: their weights by NumPy from the equations, the heat maps, and what is left of a pruned network."""

import keras
import numpy as np
import pytest

import zoo
from keras_skip import DepthAttention, DepthAverage, ExpandStreams, HyperConnection, ReduceStreams
from zoo.analysis import charts
from zoo.analysis.skips import Skip

DIGITS = zoo.load_source("digits")
layers = keras.layers


def finish(image, x):
    return keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)), name="small")


def sequence():
    image = keras.Input((8, 8, 1))
    return image, layers.Dense(6)(layers.Reshape((8, 8))(image))


def randomise(model):
    generator = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(generator.normal(size=weight.shape))
    return model


def images(count):
    return np.asarray(DIGITS.preprocessing(DIGITS.test_inputs[:count]))


def weights_of(found, layer, kind):
    return {(skip.target, skip.source): skip.weight for skip in found if (skip.layer, skip.kind) == (layer, kind)}


def test_streams_are_read_written_and_mixed_as_the_layer_does():
    image, x = sequence()
    x = ExpandStreams(3)(x)
    connection = HyperConnection(layers.Dense(6), 3, constraint=None, dynamic=False, name="connection")
    model = randomise(finish(image, ReduceStreams()(connection(x))))
    found = zoo.learned_skips(model, DIGITS, examples=5)
    pre, post, mixed = (weights_of(found, "connection", kind) for kind in ("pre", "post", "residual"))
    assert list(pre) == [(0, 1), (0, 2), (0, 3)] and list(post) == [(1, 0), (2, 0), (3, 0)] and len(mixed) == 9
    # Each stream alone, through a layer that gives nothing, then a layer that gives what it reads.
    dense = connection.layer
    dense.bias.assign(np.zeros(6))
    alone = np.eye(3, dtype="float32")[:, None, :, None] * np.ones((1, 1, 1, 6), "float32")
    dense.kernel.assign(np.zeros((6, 6)))
    without = np.asarray(connection(alone))[:, 0, :, 0]
    dense.kernel.assign(np.eye(6))
    update = np.asarray(connection(alone))[:, 0, :, 0] - without
    for source in (1, 2, 3):
        for target in (1, 2, 3):
            assert mixed[target, source] == pytest.approx(without[source - 1, target - 1], abs=1e-5)
            expected = update[source - 1, target - 1]
            assert post[target, 0] * pre[0, source] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("constraint", ["birkhoff", "sinkhorn"])
def test_weights_that_depend_on_the_image_are_averaged_over_images_and_positions(constraint):
    image, x = sequence()
    connection = HyperConnection(layers.Dense(6), 2, constraint, name="connection")
    streams = ExpandStreams(2)(x)
    model = finish(image, ReduceStreams()(connection(streams)))
    randomise(model)
    seen = np.asarray(keras.Model(image, streams)(images(300)), "float64").reshape(300, 8, 12)
    scaled = seen / np.sqrt((seen**2).mean(axis=-1, keepdims=True) + 1e-6)
    kernel, bias, alpha = (np.asarray(getattr(connection, name), "float64") for name in ("kernel", "bias", "alpha"))
    sizes = (2, 2, 2 if constraint == "birkhoff" else 4)
    logits = scaled @ kernel * np.repeat(alpha, sizes) + bias
    read = 1 / (1 + np.exp(-logits[..., :2]))
    written = 2 / (1 + np.exp(-logits[..., 2:4]))
    # Two more batches' worth than one batch holds: the last is smaller.
    found = zoo.learned_skips(model, DIGITS, examples=300)
    for kind, expected in (("pre", read), ("post", written)):
        weights = list(weights_of(found, "connection", kind).values())
        np.testing.assert_allclose(weights, expected.mean(axis=(0, 1)), rtol=1e-4, atol=1e-5)
    mixed = np.array(list(weights_of(found, "connection", "residual").values())).reshape(2, 2)
    np.testing.assert_allclose(mixed.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(mixed.sum(axis=1), 1, atol=1e-5)
    if constraint == "birkhoff":
        shares = np.exp(logits[..., 4:])
        kept = (shares[..., 0] / shares.sum(axis=-1)).mean()
        np.testing.assert_allclose(mixed, [[kept, 1 - kept], [1 - kept, kept]], atol=1e-5)


def test_averages_over_depth_are_listed_by_their_sources():
    image, x = sequence()
    states, y = [x], x
    for block in range(4):
        states.append(layers.Dense(6, "tanh")(y))
        y = DepthAverage(dilation=2, period=2, name=f"average{block + 1}")(states)
    model = randomise(finish(image, y))
    found = zoo.learned_skips(model, DIGITS, examples=3)
    assert {(skip.layer, skip.kind, skip.target, skip.source) for skip in found} == {
        ("average2", "average", 3, 0),
        ("average2", "average", 3, 2),
        ("average4", "average", 5, 0),
        ("average4", "average", 5, 2),
        ("average4", "average", 5, 4),
    }
    assert [skip.weight for skip in found[2:]] == pytest.approx(model.get_layer("average4").alpha.numpy().tolist())


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_attention_over_depth_is_the_mean_of_the_softmax(data_format):
    axis = -1 if data_format == "channels_last" else -2
    image, x = sequence()
    values = [x, *(layers.Dense(6, "tanh")(x) for _ in range(3))]
    attention = DepthAttention(block_size=2, data_format=data_format, name="attention")
    model = randomise(finish(image, attention(values)))
    v = [np.asarray(value, "float64") for value in keras.Model(image, values)(images(300))]
    v = np.stack([v[0], v[1] + v[2], v[3]])
    query = np.asarray(attention.query, "float64").reshape((-1,) if axis == -1 else (-1, 1))
    logits = (query * v / np.sqrt((v**2).mean(axis=axis, keepdims=True) + 1e-6)).sum(axis=axis)
    shares = np.exp(logits) / np.exp(logits).sum(axis=0)
    first, middle, last = 3 * shares.mean(axis=(1, 2))
    found = weights_of(zoo.learned_skips(model, DIGITS, examples=300), "attention", "attention")
    assert found == pytest.approx({(4, 0): first, (4, 1): middle, (4, 2): middle, (4, 3): last}, rel=1e-4)


def test_dense_blocks_need_no_data():
    found = zoo.learned_skips("dense_mlp", weights="digits")
    pairs = zoo.feature_reuse(zoo.load("dense_mlp", weights="digits"))
    assert [(skip.target, skip.source, skip.weight) for skip in found] == [
        (pair.target, pair.source, pair.norm) for pair in pairs
    ]
    assert {skip.kind for skip in found} == {"reuse"} and found[-1].layer == "block/head"


def test_networks_without_learned_skips_or_data_give_a_clear_error():
    with pytest.raises(
        ValueError, match="Expected a network with dense blocks, .* Received: plain_mlp, which has none"
    ):
        zoo.learned_skips(zoo.build("plain_mlp"), DIGITS)
    with pytest.raises(ValueError, match="Expected data for a model"):
        zoo.learned_skips(zoo.build("stack_mlp", depth=1, skip="hyper"))


def streams(connections, count=2, sign=1.0):
    generator = np.random.default_rng(0)
    for place in range(1, connections + 1):
        numbers = range(1, count + 1)
        for kind, targets, sources in (("pre", [0], numbers), ("post", numbers, [0]), ("residual", numbers, numbers)):
            for target in targets:
                for source in sources:
                    yield Skip("drawn", kind, f"layer{place}", target, source, sign * generator.uniform(0.1, 1))


def chain(kind, prefix, blocks):
    generator = np.random.default_rng(1)
    for block in range(2, blocks + 2):
        for source in range(block):
            weight = 1.0 if source == block - 1 else generator.uniform(-0.2, 0.2)
            yield Skip("drawn", kind, f"{prefix}_{block - 1}_{kind}", block, source, weight)


def panels(figure):
    return [axes for axes in figure.axes if axes.images and axes.get_visible()]


def pixels(axes):
    return np.ma.filled(axes.images[0].get_array().astype(float), np.nan)


def test_streams_are_drawn_side_by_side_and_in_rows_of_24():
    rows = list(streams(30, 3))
    drawn = panels(charts.skips(rows))
    assert len(drawn) == 6
    pre, _, mixed = drawn[3:]  # the second row, from connection 25 on
    number = 27
    for axes in (pre, mixed):
        left, right = axes.get_xlim()
        assert (left, right) == (24.5, 48.5)
    by_ends = weights_of(rows, f"layer{number}", "residual")
    values, cell = pixels(mixed), pixels(mixed).shape[1] // 24
    start = (number - 25) * cell
    for target in (1, 2, 3):
        expected = [by_ends[target, source] for source in (1, 2, 3)]
        np.testing.assert_allclose(values[target - 1, start : start + 3], expected)
    assert np.isnan(values[:, start + cell - 1]).all() and np.isnan(values[:, 6 * cell :]).all()
    read = weights_of(rows, f"layer{number}", "pre")
    np.testing.assert_allclose(pixels(pre)[:, (number - 25) * pixels(pre).shape[1] // 24], list(read.values()))


@pytest.mark.parametrize(("sign", "colours", "least"), [(1.0, "viridis", 0.0), (-1.0, "PuOr", None)])
def test_negative_weights_have_a_scale_around_0(sign, colours, least):
    for axes in panels(charts.skips(streams(2, sign=sign))):
        (image,) = axes.images
        low, high = image.get_clim()
        assert image.get_cmap().name == colours
        assert low == (-high if least is None else least) and high == np.nanmax(np.abs(pixels(axes)))


def test_each_stack_has_its_triangle_and_the_newest_output_does_not_set_the_scale():
    rows = [*chain("average", "stage1_block", 4), *chain("average", "stage2_block", 3)]
    first, second = panels(charts.skips(rows))
    assert [axes.get_title() for axes in (first, second)] == ["stage1_block", "stage2_block"]
    values = pixels(first)
    assert values.shape == (5, 4) and first.images[0].get_extent() == [1.5, 5.5, 4.5, -0.5]
    for skip in rows[: 2 + 3 + 4 + 5]:
        assert values[skip.source, skip.target - 2] == skip.weight
    assert np.isnan(values[4, :3]).all()
    older = max(abs(skip.weight) for skip in rows if skip.source < skip.target - 1)
    assert first.images[0].get_clim() == second.images[0].get_clim() == (-older, older)


def test_kinds_are_drawn_below_each_other():
    rows = [*chain("attention", "block", 3), *streams(2), *chain("average", "block", 3)]
    figure = charts.skips(rows)
    titles = [part.get_suptitle() for part in figure.subfigs]
    assert titles == ["Streams in drawn", "Depth averages in drawn", "Depth attention in drawn"]


def test_a_pruned_network_is_the_one_with_small_weights_at_0():
    model = zoo.build("stack_mlp", depth=4, width=8, skip="depth_average")
    generator = np.random.default_rng(0)
    averages = [model.get_layer(f"block_{block}_average") for block in range(1, 5)]
    for average in averages:
        average.alpha.assign(np.append(generator.uniform(-0.5, 0.5, len(average.sources) - 1), 1.0))
    before = [average.alpha.numpy() for average in averages]
    whole, pruned = zoo.pruning_profile(model, DIGITS, thresholds=[0.3], examples=100)
    assert (whole.threshold, whole.weights) == (0.0, sum(map(len, before)))
    assert pruned.weights == sum(int((np.abs(alpha) >= 0.3).sum()) for alpha in before) < whole.weights
    for average, alpha in zip(averages, before, strict=True):
        np.testing.assert_array_equal(average.alpha.numpy(), alpha)
        average.alpha.assign(np.where(np.abs(alpha) >= 0.3, alpha, 0))
    (zeroed,) = zoo.pruning_profile(model, DIGITS, thresholds=[], examples=100)
    assert pruned.loss == pytest.approx(zeroed.loss, rel=1e-5) and pruned.loss != pytest.approx(whole.loss, rel=1e-3)
    with pytest.raises(ValueError, match="plain_mlp"):
        zoo.pruning_profile(zoo.build("plain_mlp"), DIGITS)
