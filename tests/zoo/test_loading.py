"""Networks and weights from files: what a network takes, and what it keeps when a file does not fit."""

import shutil
import sys
from pathlib import Path

import keras
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import zoo
from zoo.training.learner import precision

SHAPES = {"input_shape": (4, 4, 1), "classes": 3}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small network with weights of its own, and its files."""
    folder = tmp_path_factory.mktemp("weights")
    model = zoo.build("plain_mlp", **SHAPES)
    model.save(folder / "small.keras")
    model.save_weights(folder / "small.weights.h5")
    return folder, model


def outputs(model):
    return model.predict_on_batch(np.linspace(-1, 1, 32, dtype="float32").reshape(2, 4, 4, 1))


def values(model):
    return {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.weights}


@pytest.mark.parametrize("file", ["small.keras", "small.weights.h5"])
def test_load_takes_weights_from_a_file(trained, file):
    folder, model = trained
    shapes = {"input_shape": (4, 4, 1)} if file.endswith("h5") else {}
    loaded = zoo.load("plain_mlp", weights=folder / file, **shapes)
    np.testing.assert_array_equal(outputs(loaded), outputs(model))


def test_weights_are_taken_from_a_network_with_random_states(tmp_path):
    model = zoo.build("wrn_16_2", dropout=0.3, **SHAPES)
    model.save(tmp_path / "wide.keras")
    loaded = zoo.load("wrn_16_2", weights=tmp_path / "wide.keras", dropout=0.3)
    np.testing.assert_array_equal(outputs(loaded), outputs(model))


def test_the_shape_in_a_file_is_turned_to_the_present_order(tmp_path):
    zoo.build("wrn_16_2", input_shape=(8, 6, 3)).save(tmp_path / "wide.keras")
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        assert zoo.load("wrn_16_2", weights=tmp_path / "wide.keras").input_shape == (None, 3, 8, 6)
    finally:
        keras.config.set_image_data_format(before)


def test_load_takes_a_network_from_a_file(trained):
    folder, model = trained
    np.testing.assert_array_equal(outputs(zoo.load(folder / "small.keras")), outputs(model))


def test_a_path_is_never_the_name_of_a_network(trained, tmp_path, monkeypatch):
    folder, model = trained
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"Expected a \.keras file or the folder of a run\. Received: 'plain_mlp'"):
        zoo.load(Path("plain_mlp"))
    Path("plain_mlp").mkdir()
    Path("plain_mlp", "run.json").write_text("{}")
    shutil.copy(folder / "small.keras", "plain_mlp/model.keras")
    np.testing.assert_array_equal(outputs(zoo.load(Path("plain_mlp"))), outputs(model))
    for more in ({"weights": folder / "small.keras"}, {"depth": 3}):
        with pytest.raises(ValueError, match=r"Expected the name of a network.* Received: name_or_path=\w*Path"):
            zoo.load(Path("plain_mlp"), **more)


def test_weights_of_another_network_are_listed_by_name(trained):
    for file in ("small.keras", "small.weights.h5"):
        with pytest.raises(ValueError, match=r"missing: block1/conv1/kernel.*unexpected: layer1/kernel"):
            zoo.load("residual_mlp", weights=trained[0] / file, **SHAPES)


def test_weights_of_another_shape_are_listed_by_name(trained):
    with pytest.raises(ValueError, match=r"of another shape: stem/kernel \(16, \d+\) instead of \(25, \d+\)"):
        zoo.load("plain_mlp", weights=trained[0] / "small.keras", input_shape=(5, 5, 1))


@pytest.mark.parametrize("file", ["small.keras", "small.weights.h5"])
def test_another_number_of_classes_keeps_all_but_the_head(trained, file):
    folder, model = trained
    loaded = zoo.load("plain_mlp", weights=folder / file, input_shape=(4, 4, 1), classes=5)
    assert loaded.output_shape == (None, 5)
    kept = [path for path, value in values(model).items() if np.array_equal(values(loaded)[path], value)]
    assert kept == [path for path in values(model) if not path.startswith("head/")]


def test_the_same_number_of_classes_takes_the_head(trained):
    folder, model = trained
    loaded = zoo.load("plain_mlp", weights=folder / "small.keras", classes=3)
    np.testing.assert_array_equal(outputs(loaded), outputs(model))


def test_a_file_without_a_head_needs_the_number_of_classes(trained, tmp_path):
    held = {path: value for path, value in values(trained[1]).items() if not path.startswith("head/")}
    save_file(held, tmp_path / "body.safetensors")
    loaded = zoo.load("plain_mlp", weights=tmp_path / "body.safetensors", **SHAPES)
    np.testing.assert_array_equal(values(loaded)["layer1/kernel"], held["layer1/kernel"])
    with pytest.raises(ValueError, match="missing: head/kernel, head/bias$"):
        zoo.load("plain_mlp", weights=tmp_path / "body.safetensors", input_shape=(4, 4, 1))


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16, "float64"])
def test_arrays_are_cast_to_the_types_of_the_variables(trained, tmp_path, dtype):
    folder, model = trained
    held = {path: value.astype(dtype) for path, value in values(model).items()}
    save_file(held, tmp_path / "cast.safetensors")
    loaded = values(zoo.load("plain_mlp", weights=tmp_path / "cast.safetensors", input_shape=(4, 4, 1)))
    assert {value.dtype.name for value in loaded.values()} == {"float32"}
    for path, value in held.items():
        np.testing.assert_array_equal(loaded[path], value.astype("float32"))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16", "float16"])
def test_networks_of_other_precisions_are_saved_and_read(tmp_path, policy):
    with precision(policy):
        model = zoo.build("plain_mlp", **SHAPES)
        model.save_weights(tmp_path / "half.weights.h5")
        loaded = zoo.load("plain_mlp", weights=tmp_path / "half.weights.h5", **SHAPES)
    expected = values(model)
    assert {value.dtype.name for value in expected.values()} == {"float32", policy.removeprefix("mixed_")} - (
        {"bfloat16"} if policy == "mixed_bfloat16" else set()
    )
    for path, value in values(loaded).items():
        np.testing.assert_array_equal(value.astype("float32"), expected[path].astype("float32"))


def test_load_weights_fills_a_network_that_is_there(trained):
    folder, model = trained
    other = zoo.build("plain_mlp", **SHAPES)
    body = keras.Model(other.input, keras.layers.Dense(2, name="mine")(other.layers[-2].output))
    own = values(body)["mine/kernel"]
    zoo.load_weights(keras.Model(body.input, body.layers[-2].output), folder / "small.weights.h5")
    np.testing.assert_array_equal(values(body)["layer1/kernel"], values(model)["layer1/kernel"])
    np.testing.assert_array_equal(values(body)["mine/kernel"], own)
    zoo.load_weights(other, folder / "small.keras")
    np.testing.assert_array_equal(outputs(other), outputs(model))


def test_load_weights_can_leave_the_head(trained):
    other = zoo.build("plain_mlp", input_shape=(4, 4, 1), classes=5)
    head = values(other)["head/kernel"]
    zoo.load_weights(other, trained[0] / "small.keras", head=False)
    np.testing.assert_array_equal(values(other)["head/kernel"], head)
    np.testing.assert_array_equal(values(other)["layer1/kernel"], values(trained[1])["layer1/kernel"])


def with_change(arrays, path, change):
    return arrays | {path: change(arrays[path])}


def infinite(array):
    array = array.astype("float64")
    array.flat[-1] = 1e300  # finite until it is cast
    return array


def nan(array):
    array = array.copy()
    array.flat[0] = np.nan
    return array


UNFIT = {
    "a missing array": (lambda held: {k: v for k, v in held.items() if k != "head/bias"}, "missing: head/bias$"),
    "an unexpected array": (lambda held: held | {"more": held["head/bias"]}, "unexpected: more$"),
    "a shape": (
        lambda held: with_change(held, "layer2/bias", lambda v: v[:-1]),
        r"of another shape: layer2/bias \(\d+,\) instead of",
    ),
    "integers": (
        lambda held: with_change(held, "head/bias", lambda v: v.astype("int8")),
        r"floats: head/bias \(int8\)$",
    ),
    "NaN": (lambda held: with_change(held, "layer2/kernel", nan), "with NaN or infinity: layer2/kernel$"),
    "overflow": (lambda held: with_change(held, "head/kernel", infinite), "with NaN or infinity: head/kernel$"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_file_that_does_not_fit_changes_nothing(trained, tmp_path, case):
    change, message = UNFIT[case]
    save_file(change(values(trained[1])), tmp_path / "unfit.safetensors")
    model = zoo.build("plain_mlp", **SHAPES)
    before = values(model)
    with pytest.raises(
        ValueError, match=rf"^Expected weights of plain_mlp\. Received: .*unfit\.safetensors', .*{message}"
    ):
        zoo.load_weights(model, tmp_path / "unfit.safetensors")
    for path, value in values(model).items():
        np.testing.assert_array_equal(value, before[path])


@pytest.mark.parametrize(
    "name", ["missing.keras", "missing.weights.h5", "missing.pth", "missing.safetensors", "missing"]
)
def test_missing_weights_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"Expected .* Received: .*missing"):
        zoo.load("plain_mlp", weights=tmp_path / name)


def test_pickles_need_torch(tmp_path, monkeypatch):
    (tmp_path / "weights.pth").write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ValueError, match=r'^Reading \.pth files needs torch: pip install "\.\[torch\]"'):
        zoo.load("resnet18", weights=tmp_path / "weights.pth")


def test_weights_without_such_a_name_say_what_there_is():
    with pytest.raises(
        ValueError, match=r"it exists for convnext_base, .* resnet50_v2; resnet50 takes a file of torchvision or timm$"
    ):
        zoo.load("resnet50", weights="imagenet")
    with pytest.raises(ValueError, match=r"of densenet121 by name \('imagenet'\), in a file .* Received: .*'image'"):
        zoo.load("densenet121", weights="image")
    with pytest.raises(
        ValueError,
        match=r"of resnet32 by name \(there is none\).* weights='cifar10'; "
        "it exists for airbench_residual_64_192_256, resnet20, wrn_16_2$",
    ):
        zoo.load("resnet32", weights="cifar10")
