"""Networks and weights from files."""

import numpy as np
import pytest

import zoo


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small network with weights of its own, and its files."""
    folder = tmp_path_factory.mktemp("weights")
    model = zoo.build("plain_mlp", input_shape=(4, 4, 1), classes=3)
    model.save(folder / "small.keras")
    model.save_weights(folder / "small.weights.h5")
    return folder, model


def outputs(model):
    return model.predict_on_batch(np.linspace(-1, 1, 32, dtype="float32").reshape(2, 4, 4, 1))


@pytest.mark.parametrize("file", ["small.keras", "small.weights.h5"])
def test_load_takes_weights_from_a_file(trained, file):
    folder, model = trained
    shapes = {"input_shape": (4, 4, 1), "classes": 3} if file.endswith("h5") else {}
    loaded = zoo.load("plain_mlp", weights=folder / file, **shapes)
    np.testing.assert_array_equal(outputs(loaded), outputs(model))


def test_weights_are_taken_from_a_network_with_random_states(tmp_path):
    model = zoo.build("wrn_16_2", input_shape=(4, 4, 1), classes=3, dropout=0.3)
    model.save(tmp_path / "wide.keras")
    loaded = zoo.load("wrn_16_2", weights=tmp_path / "wide.keras", dropout=0.3)
    np.testing.assert_array_equal(outputs(loaded), outputs(model))


def test_load_takes_a_network_from_a_file(trained):
    folder, model = trained
    np.testing.assert_array_equal(outputs(zoo.load(folder / "small.keras")), outputs(model))


def test_weights_of_another_network_are_listed_by_name(trained):
    with pytest.raises(ValueError, match=r"missing: block1/conv1/kernel.*unexpected: layer1/kernel"):
        zoo.load("residual_mlp", weights=trained[0] / "small.keras")


def test_weights_of_another_shape_are_listed_by_name(trained):
    with pytest.raises(ValueError, match=r"of another shape: head/kernel"):
        zoo.load("plain_mlp", weights=trained[0] / "small.keras", classes=5)


def test_h5_weights_of_another_network_are_refused(trained):
    with pytest.raises(ValueError, match=r"Expected weights of residual_mlp\. Received: .*small\.weights\.h5"):
        zoo.load("residual_mlp", weights=trained[0] / "small.weights.h5", input_shape=(4, 4, 1), classes=3)


@pytest.mark.parametrize("name", ["missing.keras", "missing.weights.h5"])
def test_missing_weights_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"Expected .* Received: .*missing"):
        zoo.load("plain_mlp", weights=tmp_path / name)
