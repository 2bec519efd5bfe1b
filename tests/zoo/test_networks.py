"""The networks themselves: sizes, names, arguments."""

import numpy as np
import pytest

import zoo
from tests.sweep import first_of_each_kind, sweep
from tests.zoo.small_inputs import SHALLOW, few_blocks, small_shape
from zoo.networks.catalogue import MODELS
from zoo.networks.counting import count
from zoo.networks.small_images.mlp import dense_mlp, highway_mlp, plain_mlp, residual_mlp
from zoo.networks.small_images.resnet import cifar_resnet
from zoo.training.learner import precision

MLPS = {"plain": plain_mlp, "residual": residual_mlp, "highway": highway_mlp, "dense": dense_mlp}
GATES = ("transform_gate", "carry_gate")
# One of each builder, and of each of its branches.
SMALL = [*zoo.list_models("*_mlp"), "resnet20", "plain20", "preact_resnet20", "preact_resnet164", "wrn_16_2"]
SMALL += ["densenet_40_12", "densenet_bc_100_12", "highway11", "highway11_carry", "highway_mnist_16"]
SMALL += ["stochastic_resnet32", "resnet9", "stack_encoder", "stack_convnet"]


def build_shallow(name, **arguments):
    return zoo.build(name, input_shape=(8, 8, 1), **SHALLOW.get(name, {}), **arguments)


def test_resnet20_has_twenty_layers_of_weights_in_stages_of_16_32_and_64():
    model = zoo.build("resnet20", input_shape=(32, 32, 3))
    kernels = [variable for variable in model.trainable_variables if variable.path.endswith("kernel")]
    assert len(kernels) == 20
    blocks = [layer.output.shape[1:] for layer in model.layers if "block" in layer.name]
    assert blocks == [(32, 32, 16)] * 3 + [(16, 16, 32)] * 3 + [(8, 8, 64)] * 3


@pytest.mark.parametrize("input_shape", [(8, 8, 1), (28, 28, 1), (33, 17, 3), (None, None, 3)])
def test_resnet20_takes_any_size_grey_or_colour(input_shape):
    model = cifar_resnet(input_shape, classes=7, depth=8)
    image = np.zeros((2, *(size or 12 for size in input_shape)), "float32")
    assert model(image).shape == (2, 7)


def test_resnet20_starts_from_an_untruncated_normal_with_fan_out():
    # From 32 filters to 64: where both are the same, fan-in and fan-out are too.
    last = cifar_resnet((32, 32, 3)).get_layer("stage3_block1").conv1.kernel.numpy()
    assert last.std() == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.03)
    assert np.abs(last).max() > 3 * last.std(), "he_normal would end at two standard deviations"


def test_resnet20_normalises_with_momentum_09_and_epsilon_1e5():
    layers = [layer for layer in cifar_resnet((8, 8, 1))._flatten_layers() if "norm" in layer.name]
    assert len(layers) == 19
    assert {(layer.momentum, layer.epsilon) for layer in layers} == {(0.9, 1e-5)}


@pytest.mark.parametrize("name", SMALL)
def test_names_do_not_depend_on_what_was_built_before(name):
    first, second = build_shallow(name), build_shallow(name)
    paths = [v.path for v in first.weights]
    assert paths == [v.path for v in second.weights]
    assert len(set(paths)) == len(paths)
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]


@pytest.mark.parametrize("name", SMALL)
def test_weight_decay_d_has_the_gradient_d_times_w(name):
    model = build_shallow(name, weight_decay=0.5)
    kernels = [v.numpy().astype("float64") for v in model.trainable_variables if v.path.endswith("kernel")]
    expected = sum(0.25 * np.sum(kernel**2) for kernel in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", MLPS)
@pytest.mark.parametrize("depth", [4, 12])
def test_mlps_have_the_same_depth_and_width(kind, depth):
    model = MLPS[kind]((8, 8, 1), classes=10, depth=depth, width=24)
    kernels = [v for v in model.trainable_variables if v.path.endswith("kernel")]
    layers = [kernel for kernel in kernels if not any(gate in kernel.path for gate in GATES)]
    assert len(layers) == depth
    assert {kernel.shape[-1] for kernel in layers[:-1]} == {24}


def test_highway_mlp_can_couple_its_gates():
    own, coupled = highway_mlp((8, 8, 1)), highway_mlp((8, 8, 1), carry="coupled")
    assert count(own.trainable_variables) - count(coupled.trainable_variables) == 10 * (64 * 64 + 64)


@pytest.mark.parametrize("build", [cifar_resnet, plain_mlp, dense_mlp])
@pytest.mark.parametrize("input_shape", [(8, 8), 8, (8, 8, 0), (8, 8, None), (8.5, 8, 1), "8x8", None])
def test_input_shape_that_is_no_image_is_refused(build, input_shape):
    with pytest.raises(ValueError, match=r"Expected .*input_shape.* Received: input_shape="):
        build(input_shape)


@pytest.mark.parametrize(
    ("build", "arguments", "named"),
    [
        (cifar_resnet, {"depth": 21}, "depth=21"),
        (cifar_resnet, {"depth": 2}, "depth=2"),
        (cifar_resnet, {"classes": 0}, "classes=0"),
        (cifar_resnet, {"weight_decay": -1.0}, "weight_decay=-1.0"),
        (plain_mlp, {"depth": 2}, "depth=2"),
        (plain_mlp, {"width": 0}, "width=0"),
        (residual_mlp, {"depth": 13}, "depth=13"),
    ],
)
def test_arguments_out_of_range_are_refused(build, arguments, named):
    with pytest.raises(ValueError, match=f"Expected .* Received: {named}"):
        build((8, 8, 1), **arguments)


def test_logits_are_float32_in_mixed_precision():
    with precision("mixed_bfloat16"):
        model = cifar_resnet((8, 8, 1))
    assert model.output.dtype == "float32"
    assert model.get_layer("stage1_block1").compute_dtype == "bfloat16"


def _with_fewer_blocks(name):
    """Builder and arguments of a network; of the giants, those of a shallower one of the same form."""
    entry = MODELS[name]
    arguments = {**entry.arguments}
    depth = arguments.get("depth", 0)
    if depth and (entry.family.classes == 1000 or entry.family.task == "volumes"):
        arguments["depth"] = {101: 50, 152: 50, 200: 50, 169: 121, 201: 121, 264: 121}.get(depth, depth)
    elif depth > 36 and entry.family.task == "classification":
        arguments["depth"] = 18 + depth % 18  # 18 layers are whole blocks in each of the three stages, of whatever kind
    return entry.family.builder, tuple(arguments.items())


# Each form once, under the name of its first network.
FORMS = {_with_fewer_blocks(name): name for name in reversed(MODELS)}


SMALLEST = first_of_each_kind(
    FORMS, lambda form: (form[0], *sorted(dict(form[1]))), lambda form: MODELS[FORMS[form]].parameters
)


@pytest.mark.parametrize("form", sweep(FORMS, SMALLEST), ids=FORMS.values())
def test_no_two_kernels_start_equal(form):
    name, (_, arguments) = FORMS[form], form
    with few_blocks():
        network = zoo.build(name, small_shape(name), classes=3, **dict(arguments))
    # Those of the depths of a recurrent highway layer are numbered.
    kernels = [
        np.asarray(v).tobytes() for v in network.trainable_variables if v.path.rstrip("0123456789").endswith("kernel")
    ]
    assert len(set(kernels)) == len(kernels) > 2
