"""Weights of keras.applications, from every kind of file that Keras writes or wrote, give the same logits."""

import h5py
import keras
import numpy as np
import pytest
from keras.src.applications import densenet, resnet

import zoo
from tests.sweep import sweep
from zoo.networks.imagenet.densenet import LAYERS
from zoo.weights.readers import read

SHAPE = (64, 64, 3)

# The layers of the published files whose names Keras has changed since.
PUBLISHED_NAMES = {"ResNet101": {"predictions": "probs"}}
PUBLISHED_NAMES["DenseNet121"] = {"predictions": "fc1000", "conv1_conv": "conv1/conv", "conv1_bn": "conv1/bn"}


def randomise(model):
    """Values that keep the image's signal to the end: those of a new network lose it among the biases."""
    rng = np.random.default_rng(0)
    ranges = {"moving_variance": (0.5, 1.5), "gamma": (0.5, 1.0)}
    for variable in model.variables:
        kind = variable.path.rsplit("/", 1)[1]
        if kind in ranges:
            variable.assign(rng.uniform(*ranges[kind], variable.shape))
        else:
            deviation = np.sqrt(2 / np.prod(variable.shape[:-1])) if kind == "kernel" else 0.1
            variable.assign(rng.standard_normal(variable.shape, dtype="float32") * np.float32(deviation))


def relative_difference(received, expected):
    return np.abs(received - expected).max() / np.abs(expected).max()


def write_published(model, path, renamed):
    """The form of the published files: a group for each layer, whose weights are named after it once more."""
    with h5py.File(path, "w") as file:
        names = [renamed.get(layer.name, layer.name) for layer in model.layers]
        file.attrs["layer_names"] = [name.encode() for name in names]
        for name, layer in zip(names, model.layers, strict=True):
            group = file.create_group(name)
            weights = {f"{name}/{variable.name}:0": variable for variable in layer.weights}
            group.attrs["weight_names"] = [weight.encode() for weight in weights]
            for weight, variable in weights.items():
                group[weight] = keras.ops.convert_to_numpy(variable)


@pytest.fixture
def few_blocks_in_both(few_blocks, monkeypatch):
    """As few blocks in the networks of Keras as `few_blocks` leaves in ours."""
    first, second, dense = resnet.stack_residual_blocks_v1, resnet.stack_residual_blocks_v2, densenet.dense_block
    layers = dict(zip(("conv2", "conv3", "conv4", "conv5"), LAYERS[121], strict=True))
    monkeypatch.setattr(
        resnet, "stack_residual_blocks_v1", lambda x, filters, blocks, **others: first(x, filters, 2, **others)
    )
    monkeypatch.setattr(
        resnet, "stack_residual_blocks_v2", lambda x, filters, blocks, **others: second(x, filters, 2, **others)
    )
    monkeypatch.setattr(densenet, "dense_block", lambda x, blocks, name: dense(x, layers[name], name=name))


@pytest.mark.parametrize("blocks", sweep(["few", "all"], {"few"}))
@pytest.mark.parametrize(
    ("original", "name", "suffix"),
    [
        ("ResNet50", "resnet50_keras", ".weights.h5"),
        ("ResNet101", "resnet101_keras", ".h5"),
        ("ResNet50V2", "resnet50_v2", ".keras"),
        ("DenseNet121", "densenet121", ".h5"),
    ],
)
def test_logits_are_those_of_keras_applications(original, name, suffix, blocks, tmp_path, request):
    if blocks == "few":
        request.getfixturevalue("few_blocks_in_both")
    source = getattr(keras.applications, original)(weights=None, input_shape=SHAPE, classifier_activation=None)
    randomise(source)
    path = tmp_path / f"original{suffix}"
    if suffix == ".h5":
        write_published(source, path, PUBLISHED_NAMES[original])
    else:
        source.save_weights(path) if suffix == ".weights.h5" else source.save(path)
    target = zoo.load(name, weights=path, **({} if suffix == ".keras" else {"input_shape": SHAPE}))
    path.unlink()
    images = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype("float32")
    received, expected = (keras.ops.convert_to_numpy(model(images)) for model in (target, source))
    assert relative_difference(expected[0], expected[1]) > 0.01, "equality means little if all images are alike"
    assert relative_difference(received, expected) <= 1e-5
    assert {layer.epsilon for layer in target.layers if "norm" in layer.name} <= {1.001e-5}


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".h5"])
def test_own_networks_are_read_by_the_paths_of_their_variables(suffix, tmp_path, recwarn):
    model = zoo.build("wrn_16_2", input_shape=(8, 8, 3), classes=3, dropout=0.3)
    model.compile("adam", "mse")  # what belongs to the optimizer is not the network's
    path = tmp_path / f"own{suffix}"
    model.save_weights(path) if suffix == ".weights.h5" else model.save(path)
    recwarn.clear()
    held = read(path)
    assert held.keys() == {variable.path for variable in model.weights}
    for variable in model.weights:
        np.testing.assert_array_equal(held[variable.path], keras.ops.convert_to_numpy(variable))


def test_files_without_the_names_of_layers_are_refused(tmp_path):
    path = tmp_path / "nameless.weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.zeros((3, 2))
    with pytest.raises(ValueError, match=r"nameless\.weights\.h5': it holds no name for /layers/dense: save it again"):
        read(path)
