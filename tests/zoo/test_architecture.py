"""Architecture: stages, their costs, how far they see, and the drawing."""

import keras
import numpy as np
import pytest

import zoo
from tests.sweep import sweep

NETWORKS = ["resnet20", "plain20", "highway11", "densenet_40_12", "highway_mlp", "resnet18", "stack_mlp"]


@pytest.mark.parametrize("network", sweep(NETWORKS, ("resnet20", "densenet_40_12", "highway_mlp", "stack_mlp")))
def test_the_stages_add_up_to_the_network(network):
    stages = zoo.network_stages(zoo.build(network))
    card = zoo.describe(network)
    assert sum(stage.parameters for stage in stages) == card.parameters
    assert sum(stage.multiply_adds for stage in stages) == card.multiply_adds
    assert stages[-1].output_shape == (card.classes,) and stages[-1].receptive_field is None


def test_equal_blocks_come_once(tmp_path):
    stages = zoo.draw("resnet110", tmp_path / "deep.svg", input_shape=(8, 8, 1), depth=56)
    units = [(stage.name, [(unit.label, unit.repeats, unit.kind) for unit in stage.units]) for stage in stages]
    assert units == [
        ("stem", [("conv 3x3, 16 · norm · relu", 1, "")]),
        ("stage1", [("ResidualBlock 3x3, 16", 9, "add")]),
        ("stage2", [("ResidualBlock 3x3, 32, stride 2", 1, "add"), ("ResidualBlock 3x3, 32", 8, "add")]),
        ("stage3", [("ResidualBlock 3x3, 64, stride 2", 1, "add"), ("ResidualBlock 3x3, 64", 8, "add")]),
        ("pool", [("global average pooling", 1, "")]),
        ("head", [("dense 10", 1, "")]),
    ]
    assert [stage.output_shape for stage in stages[1:4]] == [(8, 8, 16), (4, 4, 32), (2, 2, 64)]
    drawn = (tmp_path / "deep.svg").read_text()
    for said in (
        "resnet56",
        "× 9",
        "× 8",
        "ResidualBlock 3x3, 64, stride 2",
        f"{stages[3].parameters:,}",
        "multiply-adds",
    ):
        assert said in drawn, said


@pytest.mark.parametrize(
    ("skip", "unit", "kind"),
    [
        (None, "Residual: Dense, Dense", ""),
        ("residual", "Residual: Dense, Dense", "add"),
        ("highway", "Residual: Dense, Dense", "gate"),
        ("depth_average", "Residual: Dense, Dense · DepthAverage", "add"),
        ("hyper", "HyperConnection: Dense, Dense", ""),
    ],
)
def test_connections_around_layers_say_what_is_inside(skip, unit, kind):
    stages = zoo.network_stages(zoo.build("stack_mlp", depth=2, skip=skip))
    units = [(one.label, one.kind) for stage in stages for one in stage.units if one.label.startswith(unit[:5])]
    assert set(units) == {(unit, kind)}


@pytest.mark.parametrize(
    ("network", "arguments"),
    [("resnet20", {"depth": 8}), ("preact_resnet164", {"depth": 11}), ("densenet_bc_100_12", {"depth": 10})],
)
def test_the_receptive_field_is_where_the_gradient_reaches(network, arguments):
    import tensorflow as tf

    size = 65
    model = zoo.build(network, (size, size, 1), **arguments)
    stages = [stage for stage in zoo.network_stages(model) if stage.receptive_field and len(stage.output_shape) == 3]
    for variable in model.trainable_variables:
        if variable.name == "kernel":
            variable.assign(keras.ops.full(variable.shape, 0.1))
    # Where each stage ends, by its shape, which is the last of its kind.
    ends = {tuple(layer.output.shape[1:]): layer.output for layer in model.layers}
    seen = keras.Model(model.inputs, [ends[stage.output_shape] for stage in stages])
    images = tf.ones((1, size, size, 1))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(images)
        middles = [tf.reduce_sum(y[0, y.shape[1] // 2, y.shape[2] // 2]) for y in seen(images, training=False)]
    for stage, middle in zip(stages, middles, strict=True):
        rows = np.flatnonzero(np.abs(tape.gradient(middle, images)[0, :, :, 0]).sum(axis=1))
        by_name = [other for other in stages if other.output_shape == stage.output_shape]
        assert np.ptp(rows) + 1 == by_name[-1].receptive_field, stage.name


@pytest.mark.parametrize(
    ("network", "arguments"),
    [("tcn", {"filters": (4, 4, 4), "kernel_size": 3, "return_sequences": True}), ("wavenet", {"depth": 4})],
)
def test_the_receptive_field_of_a_series_is_the_steps_that_the_last_output_depends_on(network, arguments):
    rng = np.random.default_rng(0)
    model = zoo.build(network, (64, 1), 2, **arguments)
    series = np.repeat(rng.normal(size=(1, 64, 1)).astype("float32"), 64, axis=0)
    changed = series.copy()
    changed[range(64), range(64), 0] += 3  # one step in each
    differs = np.any(model.predict(changed, verbose=0)[:, -1] != model.predict(series, verbose=0)[:, -1], axis=-1)
    assert 64 - np.argmax(differs) == zoo.network_stages(model)[-1].receptive_field < 64


def test_upsampling_and_recurrence_count_by_the_formula():
    # resnet34 sees 899 pixels in steps of 32; then two convolutions in each of the steps 16 to 1, and the head.
    fields = [stage.receptive_field for stage in zoo.network_stages(zoo.build("unet"))]
    assert fields[-3:] == [899, 899 + 2 * 2 * (16 + 8 + 4 + 2 + 1), 1023 + 2]
    # A transposed convolution of size 3 and stride 2 sees two of the steps before it; then come four layers of size 3.
    tiramisu = {s.name: s.receptive_field for s in zoo.network_stages(zoo.build("fc_densenet_56", (64, 64, 3), 2))}
    assert tiramisu["up1 to up5"] == tiramisu["bottom"] + sum(step + 4 * 2 * step // 2 for step in (32, 16, 8, 4, 2))
    assert zoo.network_stages(zoo.build("recurrent_highway", (9, 1), 2, units=3))[0].receptive_field is None


def test_pooling_and_kernels_count_by_the_formula():
    stages = {s.name: s for s in zoo.network_stages(zoo.build("highway_mnist_16", depth=7))}
    # 5; a highway layer + 2; pooling + 1 and then pixels of 2; two layers + 4 each; pooling + 2, pixels of 4; + 8 each.
    assert stages["stem"].receptive_field == 5
    assert stages["stage1"].receptive_field == 7
    assert stages["stage2"].receptive_field == 8 + 8
    assert stages["stage3"].receptive_field == 18 + 16


def test_mistakes_are_a_sentence_and_draw_nothing(tmp_path):
    with pytest.raises(ValueError, match="Did you mean resnet20"):
        zoo.draw("resnet2O", tmp_path / "a.svg")
    with pytest.raises(ValueError, match="Expected a file that ends in"):
        zoo.draw("resnet20", tmp_path / "a.gif")
    with pytest.raises(ValueError, match="Expected input_shape with fixed sizes"):
        zoo.draw("resnet20", tmp_path / "a.svg", input_shape=(None, None, 3))
    assert list(tmp_path.iterdir()) == []
