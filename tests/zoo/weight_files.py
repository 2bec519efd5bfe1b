"""Changes to whole files of weights, and the check that a file is refused."""

import json
import zipfile

import keras
import pytest

import zoo


def check_refused(network, path, message):
    """Loading says the message in one line, from every entrance, and leaves the network as it was."""
    model, _ = network
    before = [keras.ops.convert_to_numpy(variable).tobytes() for variable in model.weights]
    calls = [lambda: zoo.load_weights(model, path), lambda: zoo.load("plain_mlp", weights=path, depth=3)]
    if path.suffix == ".keras":
        calls.append(lambda: zoo.load(path))
    for call in calls:
        with pytest.raises(ValueError, match=message) as caught:
            call()
        assert str(caught.value).startswith("Expected ")
        assert "\n" not in str(caught.value)
        assert repr(str(path)) in str(caught.value)
    assert [keras.ops.convert_to_numpy(variable).tobytes() for variable in model.weights] == before


def rewrite(network, path, config=None, weights=None, compression=zipfile.ZIP_STORED):
    """The network's `.keras` file with another architecture or other weights."""
    with zipfile.ZipFile(network[1] / "whole.keras") as source, zipfile.ZipFile(path, "w", compression) as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "config.json" and config is not None:
                data = json.dumps(config(json.loads(data))).encode()
            if name == "model.weights.h5" and weights is not None:
                data = weights
            target.writestr(name, data)
    return path


def first_layer(serialized):
    """A change of the architecture: another object in the place of its second layer."""

    def change(config):
        config["config"]["layers"][1] |= serialized
        return config

    return change
