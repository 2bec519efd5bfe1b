"""The families of the papers: the size of every network, and what each family is made of."""

import keras
import numpy as np
import pytest

import zoo
from tests.sweep import sweep
from zoo.networks.catalogue import MODELS
from zoo.networks.counting import count
from zoo.networks.small_images.densenet import cifar_densenet
from zoo.networks.small_images.highway import highway_cifar, highway_mnist
from zoo.networks.small_images.preactivation import preact_resnet
from zoo.networks.small_images.resnet import cifar_resnet, plain, stochastic_resnet
from zoo.networks.small_images.resnet9 import resnet9
from zoo.networks.small_images.wide import wide_resnet

# Trainable parameters for ten classes by arithmetic, and the figure that the paper states where it rounds to that.
# Not so: preact_resnet1001 (stated 10.2M), highway32 (1.25M) and highway_mnist_32 (151K).
EXACT = {
    "resnet20": (269_722, "0.27M"),
    "resnet32": (464_154, "0.46M"),
    "resnet44": (658_586, "0.66M"),
    "resnet56": (853_018, "0.85M"),
    "resnet110": (1_727_962, "1.7M"),
    "resnet1202": (19_421_274, "19.4M"),
    "plain20": (269_722, None),
    "plain32": (464_154, None),
    "plain44": (658_586, None),
    "plain56": (853_018, None),
    "preact_resnet20": (269_722, None),
    "preact_resnet110": (1_727_962, "1.7M"),
    "preact_resnet164": (1_703_258, "1.7M"),
    "preact_resnet1001": (10_327_706, None),
    "stochastic_resnet32": (464_154, None),
    "stochastic_resnet110": (1_727_962, "1.7M"),
    "stochastic_resnet1202": (19_421_274, "19.4M"),
    "wrn_16_2": (691_674, "0.7M"),
    "wrn_16_4": (2_748_890, "2.7M"),
    "wrn_16_8": (10_961_370, "11.0M"),
    "wrn_28_10": (36_479_194, "36.5M"),
    "wrn_40_4": (8_949_210, "8.9M"),
    "densenet_40_12": (1_019_722, "1.0M"),
    "densenet_100_12": (6_979_642, "7.0M"),
    "densenet_bc_100_12": (769_162, "0.8M"),
    "densenet_bc_250_24": (15_324_406, "15.3M"),
    "densenet_bc_190_40": (25_624_430, "25.6M"),
    "highway11": (236_328, "236K"),
    "highway19": (2_256_838, "2.3M"),
    "highway32": (1_255_270, None),
    "highway19_carry": (3_320_150, None),
    "highway_mnist_16": (38_986, "39K"),
    "highway_mnist_32": (151_690, None),
    "resnet9": (6_573_120, "6.6M"),
}
FILES = {
    f"zoo.networks.small_images.{name}"
    for name in ("resnet", "preactivation", "wide", "densenet", "highway", "resnet9")
}
OURS = [name for name, entry in MODELS.items() if entry.family.builder.__module__ in FILES]
UNITS = {"K": 1e3, "M": 1e6}

# A shallow network of each builder, as small as its form allows.
SHALLOW = {
    "resnet": (cifar_resnet, {"depth": 8}),
    "resnet with projections": (cifar_resnet, {"depth": 8, "shortcut": "projection"}),
    "plain": (plain, {"depth": 8}),
    "stochastic": (stochastic_resnet, {"depth": 8}),
    "preact": (preact_resnet, {"depth": 11}),
    "preact without bottlenecks": (preact_resnet, {"depth": 8, "bottleneck": False, "shortcut": "pad"}),
    "wide": (wide_resnet, {"depth": 10, "width": 2, "dropout": 0.3}),
    "densenet": (cifar_densenet, {"depth": 7, "dropout": 0.2}),
    "densenet_bc": (cifar_densenet, {"depth": 10, "bottleneck": True, "compression": 0.5}),
    "highway": (highway_cifar, {"depth": 11, "dropout": 0.2}),
    "highway with carry": (highway_cifar, {"depth": 11, "carry": "learned"}),
    "highway_mnist": (highway_mnist, {"depth": 4, "dropout": 0.2}),
    "resnet9": (resnet9, {"width": 4}),
}
shallow = pytest.mark.parametrize(("build", "arguments"), SHALLOW.values(), ids=SHALLOW)


@pytest.mark.parametrize("name", EXACT)
def test_network_has_the_parameters_of_the_paper(name):
    exact, stated = EXACT[name]
    assert MODELS[name].family.classes == 10
    # These are compared with the built network in test_counting.py.
    assert MODELS[name].parameters == exact
    if stated:
        unit = UNITS[stated[-1]]
        last_digit = 10.0 ** -len(stated[:-1].partition(".")[2])
        assert exact / unit == pytest.approx(float(stated[:-1]), abs=0.5001 * last_digit)


@shallow
def test_channels_may_come_first(build, arguments):
    last = build((13, 9, 3), **arguments)
    keras.config.set_image_data_format("channels_first")
    try:
        first = build((3, 13, 9), **arguments)
    finally:
        keras.config.set_image_data_format("channels_last")
    assert [(v.path, v.shape) for v in first.weights] == [(v.path, v.shape) for v in last.weights]


def test_only_carry_twins_have_no_exact_figure():
    doubled = {"highway11_carry", "highway32_carry", "highway_mnist_16_carry", "highway_mnist_32_carry"}
    assert set(OURS) - EXACT.keys() == doubled


@pytest.mark.parametrize("name", ["highway11", "highway32", "highway_mnist_16", "highway_mnist_32"])
def test_carry_twin_has_one_more_gate_in_each_highway_layer(name):
    coupled, own = zoo.build(name), zoo.build(f"{name}_carry")
    gates = [v for v in own.trainable_variables if "carry_gate" in v.path]
    assert own.name == f"{name}_carry"
    assert len(gates) == 2 * sum("block" in layer.name for layer in coupled.layers)
    assert count(own.trainable_variables) == count(coupled.trainable_variables) + count(gates)


@shallow
@pytest.mark.parametrize("input_shape", sweep([(8, 8, 1), (13, 9, 3)], {(13, 9, 3)}), ids=str)
def test_shallow_network_learns_a_step_and_predicts(build, arguments, input_shape):
    keras.utils.set_random_seed(0)
    model = build(input_shape, classes=3, weight_decay=1e-4, **arguments)
    before = [v.numpy() for v in model.trainable_variables]
    images = np.random.default_rng(0).normal(size=(4, *input_shape)).astype("float32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Eager steps are the faster ones where only one is run; but there a block that was dropped has no gradients.
    model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=False, run_eagerly=build is not stochastic_resnet)
    assert np.isfinite(model.train_on_batch(images, np.array([0, 1, 2, 0])))
    moved = [not np.array_equal(v.numpy(), old) for v, old in zip(model.trainable_variables, before, strict=True)]
    # A block that was dropped keeps its weights.
    assert all(moved) or (build is stochastic_resnet and any(moved))
    logits = model.predict_on_batch(images)
    assert logits.shape == (4, 3)
    assert np.isfinite(logits).all()


# The dense layer of highway_mnist sees a map of a fixed size.
@pytest.mark.parametrize("kind", [kind for kind in SHALLOW if kind != "highway_mnist"])
@pytest.mark.parametrize("channels", sweep([1, 3], {1}))
def test_images_may_be_of_any_size(kind, channels):
    build, arguments = SHALLOW[kind]
    model = build((None, None, channels), **arguments)
    for height, width in ((9, 14), (8, 8), (32, 5)):
        assert model(np.zeros((1, height, width, channels), "float32")).shape == (1, 10)


def test_plain_network_has_the_convolutions_of_the_residual_one_and_no_skips():
    plain_kernels, kernels = (
        [v.shape for v in m.variables if "kernel" in v.path] for m in (plain((8, 8, 3)), cifar_resnet((8, 8, 3)))
    )
    assert plain_kernels == kernels
    consumers = [len(node._outbound_nodes) for node in plain((8, 8, 3)).layers[:-1]]
    assert set(consumers) == {1}


def test_survival_falls_linearly_over_all_blocks_down_sampling_ones_included():
    model = stochastic_resnet((8, 8, 3), depth=20, survival_prob=0.1)
    blocks = [layer for layer in model.layers if "block" in layer.name]
    assert [block.survival_prob for block in blocks] == pytest.approx([1 - 0.1 * place for place in range(1, 10)])
    assert {(block.scale, block.granularity) for block in blocks} == {("inference", "batch")}
    training = stochastic_resnet((8, 8, 3), depth=8, scale="training", granularity="sample").get_layer("stage1_block1")
    assert (training.scale, training.granularity) == ("training", "sample")
    rows = stochastic_resnet((8, 8, 3), depth=8, granularity="rows").get_layer("stage1_block1")
    assert rows.granularity == "rows"


def test_stochastic_network_that_never_drops_is_the_residual_network():
    survivors, residual = stochastic_resnet((8, 8, 3), depth=8, survival_prob=1.0), cifar_resnet((8, 8, 3), depth=8)
    residual.set_weights(survivors.get_weights())
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(survivors(images), residual(images))


@pytest.mark.parametrize("bottleneck", [True, False])
def test_first_unit_and_the_shape_changing_ones_share_their_preactivation(bottleneck):
    model = preact_resnet((8, 8, 3), depth=20, bottleneck=bottleneck, shortcut="projection" if bottleneck else "pad")
    shared = [layer.name for layer in model.layers if "block" in layer.name and layer._is_shared()]
    assert shared == ["stage1_block1", "stage2_block1", "stage3_block1"]


@pytest.mark.parametrize(("build", "depth"), [(preact_resnet, 11), (wide_resnet, 10), (cifar_densenet, 7)])
def test_preactivated_networks_normalise_before_the_pooling_and_not_in_the_stem(build, depth):
    names = [layer.name for layer in build((8, 8, 3), depth=depth).layers]
    assert names[:2] == ["image", "stem_conv"]
    assert "block1" in names[2]
    assert names[-4:] == ["last_norm", "last_activation", "pool", "head"]


def test_wide_network_drops_between_its_convolutions_only_if_asked():
    rates = [
        {layer.dropout for layer in wide_resnet((8, 8, 3), 10, 10, 2, rate).layers if "block" in layer.name}
        for rate in (0.0, 0.3)
    ]
    assert rates == [{0.0}, {0.3}]


@pytest.mark.parametrize(
    ("name", "channels"),
    [("densenet_40_12", [16, 160, 160, 304, 304, 448]), ("densenet_bc_100_12", [24, 216, 108, 300, 150, 342])],
)
def test_densenet_grows_by_k_and_compresses_in_transitions(name, channels):
    model = zoo.build(name)
    wanted = ("stem_conv", "block1", "transition1", "block2", "transition2", "block3")
    assert [model.get_layer(layer).output.shape[-1] for layer in wanted] == channels


def test_mnist_highway_pools_24_to_3():
    model = zoo.build("highway_mnist_16")
    sizes = [model.get_layer(name).output.shape[1] for name in ("stem", "pool1", "pool2", "pool3")]
    assert sizes == [24, 12, 6, 3]
    assert sum("block" in layer.name for layer in model.layers) == 8


def test_highway19_has_the_widths_of_its_authors():
    widths = [layer.output.shape[-1] for layer in zoo.build("highway19").layers if layer.weights]
    assert widths == [32] * 5 + [80] * 6 + [128] * 6 + [100, 10]


def test_resnet9_is_the_network_of_its_author():
    # 3x3 convolutions of 64 to 512 filters with two values a filter, and a dense layer without a bias.
    convolutions = [(3, 64), (64, 128), (128, 128), (128, 128), (128, 256), (256, 512), (512, 512), (512, 512)]
    assert EXACT["resnet9"][0] == sum(9 * m * n + 2 * n for m, n in convolutions) + 512 * 10
    model = resnet9((16, 16, 3), width=4)
    names = [layer.name for layer in model.layers if layer.name.startswith("stage2_")]
    assert names == ["stage2_conv", "stage2_norm", "stage2_activation", "stage2_pool"]
    assert all(isinstance(model.get_layer(f"stage{n}_pool"), keras.layers.MaxPooling2D) for n in (1, 2, 3))
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.uniform(0.2, 1, variable.shape))
    model.get_layer("head").kernel.assign(rng.normal(size=(32, 10)))
    images = rng.normal(size=(2, 16, 16, 3)).astype("float32")
    names = ("stage1_pool", "stage1_block1", "stage3_block1", "pool", "head")
    inner = keras.Model(model.input, [model.get_layer(name).output for name in names])
    before, after, last, pooled, logits = map(keras.ops.convert_to_numpy, inner(images))
    update = before
    for layer in model.get_layer("stage1_block1").layers:
        update = layer(update)
    assert [layer.name[:-1] for layer in model.get_layer("stage1_block1").layers] == ["conv", "norm", "activation"] * 2
    np.testing.assert_allclose(after, before + keras.ops.convert_to_numpy(update), rtol=1e-5)
    np.testing.assert_allclose(pooled, last.max(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_allclose(logits, 0.125 * pooled @ model.get_layer("head").kernel.numpy(), rtol=1e-4, atol=1e-4)


def test_resnet9_gives_four_maps():
    features = resnet9((32, 48, 3), width=4, features_only=True)
    shapes = {level: tuple(x.shape[1:]) for level, x in features.output.items()}
    assert shapes == {"C0": (32, 48, 4), "C1": (16, 24, 8), "C2": (8, 12, 16), "C3": (4, 6, 32)}


def test_a_head_without_a_bias_shows_how_many_classes_a_file_has(tmp_path):
    model = resnet9((8, 8, 3), classes=3, width=2)
    model.save_weights(tmp_path / "three.weights.h5")
    assert zoo.load("resnet9", weights=tmp_path / "three.weights.h5", width=2).output_shape == (None, 3)


@pytest.mark.parametrize(("build", "bias"), [(highway_cifar, -2.0), (highway_mnist, -1.0)])
def test_transform_gates_start_closed(build, bias):
    gates = [v for v in build((28, 28, 1)).variables if v.path.endswith("transform_gate/bias")]
    assert gates
    assert {float(value) for gate in gates for value in gate.numpy()} == {bias}


@pytest.mark.parametrize("input_shape", [(None, None, 1), (4, 8, 1)], ids=str)
def test_mnist_highway_refuses_maps_without_a_fixed_size(input_shape):
    with pytest.raises(ValueError, match=r"Expected a fixed input_shape of at least 5 x 5\. Received: input_shape="):
        highway_mnist(input_shape)


@pytest.mark.parametrize(
    ("build", "arguments", "named"),
    [
        (plain, {"depth": 21}, "depth=21"),
        (stochastic_resnet, {"depth": 21}, "depth=21"),
        (stochastic_resnet, {"survival_prob": 0.0}, "survival_prob=0.0"),
        (preact_resnet, {"depth": 14}, "depth=14"),
        (preact_resnet, {"depth": 29, "bottleneck": False}, "depth=29"),
        (wide_resnet, {"depth": 20}, "depth=20"),
        (wide_resnet, {"width": 0}, "width=0"),
        (cifar_densenet, {"depth": 41}, "depth=41"),
        (cifar_densenet, {"growth_rate": 0}, "growth_rate=0"),
        (cifar_densenet, {"compression": 1.5}, "compression=1.5"),
        (highway_cifar, {"depth": 20}, "depth=20"),
        (highway_cifar, {"carry": "none"}, "carry='none'"),
        (resnet9, {"width": 0}, "width=0"),
        (highway_mnist, {"depth": 9}, "depth=9"),
        (highway_mnist, {"width": 0}, "width=0"),
    ],
)
def test_arguments_out_of_range_are_refused(build, arguments, named):
    with pytest.raises(ValueError, match=f"Expected .* Received: {named}"):
        build((8, 8, 1), **arguments)
