"""The networks of airbench: their sizes, and their outputs with weights under the names of the authors' code."""

import math

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import zoo
from zoo.networks.catalogue import MODELS
from zoo.networks.small_images.airbench import airbench, airbench_residual

# The widths and convolutions of a stage, the epochs, and the PFLOPs that the authors' README states for a training.
STATED = {
    "airbench94": ((64, 256, 256), 2, 9.9, 0.36),
    "airbench95": ((128, 384, 384), 2, 15, 1.39),
    "airbench96": ((128, 384, 512), 3, 37, 4.91),
}
# Their code drops the last batch of an epoch, and a test image has six views.
EXAMPLES, VIEWS = 50_000 // 1024 * 1024, 10_000 * 6


@pytest.mark.parametrize("name", STATED)
def test_counts_are_those_of_the_architecture_and_of_the_readme(name):
    widths, convolutions, epochs, petaflops = STATED[name]
    parameters, channels, multiply_adds, size = 2 * 2 * 3 * 24 + 24, 24, 31 * 31 * 2 * 2 * 3 * 24, 31
    for width in widths:
        first, others = 9 * channels * width, (convolutions - 1) * 9 * width * width
        parameters += first + others + convolutions * width  # a bias of each normalisation
        multiply_adds += size**2 * first + (size // 2) ** 2 * others
        channels, size = width, size // 2
    assert MODELS[name].parameters == parameters + 10 * channels
    assert MODELS[name].non_trainable == 2 * convolutions * sum(widths)
    assert MODELS[name].multiply_adds == multiply_adds + 10 * channels
    # A multiply-add is two operations, and the gradients cost twice what the outputs do.
    operations = 2 * multiply_adds * (3 * epochs * EXAMPLES + VIEWS)
    assert operations == pytest.approx(1e15 * petaflops, rel=0.02)


@pytest.mark.parametrize(
    ("name", "lr", "decay"), [("airbench94", 11.5, 0.0153), ("airbench95", 10.0, 0.0153), ("airbench96", 9.0, 0.012)]
)
def test_recipes_have_the_settings_of_the_authors_code(name, lr, decay):
    recipe = zoo.get_recipe(f"{name}_cifar10")
    # Their loss is a sum over 1024 images, and their steps are these settings divided by `scale`.
    scale = 1024 * (1 + 1 / (1 - 0.85))
    assert recipe.batch_size == 1024 and recipe.epochs == math.ceil(STATED[name][2])
    assert recipe.optimizer.lr == pytest.approx(1024 * lr / scale, abs=1e-4)
    assert recipe.optimizer.lr * recipe.optimizer.weight_decay == pytest.approx(decay * 1024 / scale, rel=0.01)
    assert (recipe.optimizer.momentum, recipe.optimizer.nesterov, recipe.optimizer.lookahead) == (0.85, True, 5)
    assert (recipe.optimizer.rates, recipe.label_smoothing, recipe.augment.flip) == ({"*/beta": 64}, 0.2, "alternating")


@pytest.mark.parametrize("build", [airbench, airbench_residual])
def test_kernels_start_as_torchs_do(build):
    # torch's default is uniform up to the root of 1 / fan-in.
    model = build((9, 9, 3), widths=(16, 32, 32))
    for name, fan_in in (("stem_conv", 12), ("stage2_conv1", 9 * 16), ("head", 32)):
        kernel = keras.ops.convert_to_numpy(model.get_layer(name).kernel)
        assert 0.95 * fan_in**-0.5 < np.abs(kernel).max() <= fan_in**-0.5


def correlate(x, kernel, padding):
    """A convolution of (B, C, H, W) with (out, in, height, width)."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], (2, 3))
    return np.einsum("bchwyx,ocyx->bohw", windows, kernel)


def gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def pool(x):
    batch, channels, height, width = x.shape
    x = x[:, :, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(batch, channels, height // 2, 2, width // 2, 2).max((3, 5))


def authors_network(arrays, x, convolutions):
    """The authors' network in evaluation, by the names of its weights."""

    def normalise(x, name):
        weight, bias, mean, variance = (
            arrays[f"{name}.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + 1e-12) * weight + bias

    def convolve(x, stage, index):
        return correlate(x, arrays[f"{stage}.conv{index}.weight"], 1)

    x = gelu(correlate(x, arrays["0.weight"], 0) + arrays["0.bias"][:, None, None])
    for stage in (2, 3, 4):
        x = skip = gelu(normalise(pool(convolve(x, stage, 1)), f"{stage}.norm1"))
        x = normalise(convolve(x, stage, 2), f"{stage}.norm2")
        if convolutions == 3:
            x = normalise(convolve(gelu(x), stage, 3), f"{stage}.norm3") + skip
        x = gelu(x)
    return x.max((2, 3)) @ arrays["7.weight"].T / 9


def authors_weights(widths, convolutions, classes):
    rng, arrays, channels = np.random.default_rng(0), {}, 24
    shapes = {"0.weight": (24, 3, 2, 2), "0.bias": (24,), "7.weight": (classes, widths[-1])}
    for stage, width in enumerate(widths, 2):
        for index in range(1, convolutions + 1):
            shapes[f"{stage}.conv{index}.weight"] = (width, channels if index == 1 else width, 3, 3)
            for part in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{stage}.norm{index}.{part}"] = (width,)
        channels = width
    for name, shape in shapes.items():
        values = rng.uniform(0.5, 1.5, shape) if "norm" in name else rng.normal(0, np.prod(shape[1:]) ** -0.5, shape)
        arrays[name] = values.astype("float32")
    return arrays


@pytest.mark.parametrize(("name", "convolutions"), [("airbench95", 2), ("airbench96", 3)])
def test_weights_of_the_authors_code_give_its_logits(name, convolutions, tmp_path):
    widths = (5, 7, 6)
    arrays = authors_weights(widths, convolutions, classes=4)
    save_file(arrays, tmp_path / "weights.safetensors")
    x = np.random.default_rng(1).normal(size=(2, 3, 19, 13)).astype("float32")
    expected = authors_network(arrays, x.astype("float64"), convolutions)
    # As many classes as in the file, asked for or not, keep its head.
    for classes in ({}, {"classes": 4}):
        path = tmp_path / "weights.safetensors"
        model = zoo.load(name, weights=path, input_shape=(None, None, 3), widths=widths, **classes)
        received = model(np.moveaxis(x, 1, -1), training=False)
        np.testing.assert_allclose(received, expected, atol=1e-5 * np.abs(expected).max())
    with pytest.raises(ValueError, match=r"unexpected: .*2\.norm1\.weight"):
        zoo.load(name, weights=path, input_shape=(19, 13, 3), widths=widths, scale=False)


@pytest.mark.parametrize(("build", "momentum"), [(airbench, 0.6), (airbench_residual, 0.9)])
def test_only_the_stem_has_a_bias_and_normalisations_have_no_scale(build, momentum):
    model = build((9, 9, 3), widths=(4, 5, 6))
    names = {variable.path.rpartition("/")[2] for variable in model.trainable_variables}
    assert names == {"kernel", "bias", "beta"}
    assert [v.path for v in model.trainable_variables if v.path.endswith("bias")] == ["stem_conv/bias"]
    norms = [layer for layer in model._flatten_layers() if "norm" in layer.name]
    # Torch's momentum counts the other way round: 0.4 and 0.1 there.
    assert {(layer.momentum, layer.epsilon) for layer in norms} == {(momentum, 1e-12)}
    scaled = build((9, 9, 3), widths=(4, 5, 6), scale=True)
    assert sum(variable.path.endswith("gamma") for variable in scaled.trainable_variables) == len(norms)


def test_logits_have_the_factor_of_the_paper_and_are_float32_in_half_precision():
    default = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        ninth, whole = (airbench((9, 9, 3), widths=(4, 4, 4), logit_scale=scale) for scale in (1 / 9, 1.0))
    finally:
        keras.config.set_dtype_policy(default)
    whole.set_weights(ninth.get_weights())
    images = np.random.default_rng(0).normal(size=(3, 9, 9, 3)).astype("float32")
    assert ninth(images).dtype == "float32"
    np.testing.assert_allclose(9 * ninth(images).numpy(), whole(images), rtol=1e-5)


@pytest.mark.parametrize("name", ["airbench94", "airbench_residual_64_192_256"])
def test_maps_have_the_sizes_that_the_stem_and_the_poolings_leave(name):
    shapes = {level: x.shape[1:] for level, x in zoo.build(name, features_only=True).output.items()}
    widths = MODELS[name].arguments["widths"]
    sizes = {"C0": 31, "C1": 15, "C2": 7, "C3": 3}
    assert shapes == {level: (n, n, c) for (level, n), c in zip(sizes.items(), (24, *widths), strict=True)}


@pytest.mark.parametrize("build", [airbench, airbench_residual])
def test_one_network_takes_images_of_growing_size_and_of_either_order_of_axes(build):
    model = build((None, None, 3), widths=(4, 5, 6))
    for side in (9, 20, 32):
        assert model(np.zeros((1, side, side + 1, 3), "float32")).shape == (1, 10)
    keras.config.set_image_data_format("channels_first")
    try:
        first = build((3, 9, 12), widths=(4, 5, 6))
    finally:
        keras.config.set_image_data_format("channels_last")
    assert [(v.path, v.shape) for v in first.weights] == [(v.path, v.shape) for v in model.weights]


def test_each_stage_may_have_more_residual_blocks_which_survive_less_and_less():
    model = airbench_residual((9, 9, 3), widths=(4, 5, 6), blocks=2, survival_prob=0.4, activation="relu")
    assert model.name == "airbench_residual_4_5_6_x2"
    chances = [layer.survival_prob for layer in model.layers if "block" in layer.name]
    assert chances == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    activations = [layer.activation for layer in model._flatten_layers() if hasattr(layer, "activation")]
    assert keras.activations.relu in activations and keras.activations.gelu not in activations


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"widths": (4, 5)}, r"widths=\(4, 5\)"),
        ({"widths": 64}, "widths=64"),
        ({"widths": (4, 5, 0)}, "widths=0"),
        ({"blocks": 0}, "blocks=0"),
        ({"survival_prob": 0.0}, r"survival_prob=0\.0"),
        ({"norm_momentum": 1.0}, r"norm_momentum=1\.0"),
        ({"logit_scale": "x"}, "logit_scale='x'"),
        ({"input_shape": (8, 32, 3)}, r"input_shape=\(8, 32, 3\)"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, named):
    with pytest.raises(ValueError, match=f"Expected .* Received: {named}"):
        airbench_residual(**{"input_shape": (9, 9, 3), **arguments})
