"""Code in files of weights is not run."""

import os
import pickle

import keras
import numpy as np
import pytest

import zoo
from tests.zoo.weight_files import check_refused, first_layer, rewrite


class Touch:
    """What a pickle runs when it is read without care."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_a_pickle_that_runs_a_command_does_not_run_it(network, tmp_path, form):
    torch = pytest.importorskip("torch", reason="torch, which writes .pth files, is not installed")
    marker, path = tmp_path / "ran", tmp_path / "harm.pth"
    held = {"stem/kernel": torch.zeros(2), "harm": Touch(marker)}
    if form == "pickle":
        path.write_bytes(pickle.dumps({"harm": Touch(marker)}))
    else:
        torch.save(held, path, _use_new_zipfile_serialization=form == "zip")
    check_refused(network, path, "a pickle that is broken or holds more than tensors; nothing of it was run")
    assert not marker.exists()
    pickle.loads(pickle.dumps(Touch(marker)))
    assert marker.exists(), "the command would have left its mark"


STRANGERS = {
    "a module of Python": ({"module": "os", "class_name": "system", "registered_name": None}, "which names os.system"),
    "a module that would be imported": (
        {"module": "harmful.layers", "class_name": "Layer", "registered_name": "harmful>Layer"},
        "which names harmful.layers.Layer",
    ),
    "a class that someone registered": (
        {"module": "keras.layers", "class_name": "Dense", "registered_name": "harmful>Dense"},
        "which names keras.layers.Dense",
    ),
    "a class that nobody registered": (
        {"module": None, "class_name": "Mine", "registered_name": "Mine"},
        "which names Mine",
    ),
    "a registered class without a module": (
        {"module": None, "class_name": "Mine", "registered_name": "harmful>Mine"},
        "which names Mine",
    ),
    "a function": (
        {"config": {"activation": {"module": "os", "class_name": "function", "config": "abort"}}},
        "which names os.function",
    ),
}


@pytest.mark.parametrize("case", STRANGERS)
def test_networks_of_other_classes(network, tmp_path, monkeypatch, case):
    serialized, message = STRANGERS[case]
    (tmp_path / "harmful").mkdir()
    (tmp_path / "harmful" / "__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    path = rewrite(network, tmp_path / "strange.keras", first_layer(serialized))
    with pytest.raises(
        ValueError, match=rf"^Expected a network that uses only classes of keras and keras_skip; .*{message}$"
    ):
        zoo.load(path)
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def unsafe():
    """Keras told to make everything that a file names, as the user of a process may have done."""
    from keras.src.backend.common import global_state

    keras.config.enable_unsafe_deserialization()
    yield
    global_state.set_global_attribute("safe_mode_saving", None)


def lambda_network(path, marker):
    image = keras.Input((2,), name="image")
    code = f"__import__('os').system('touch {marker}') or x"
    outputs = keras.layers.Lambda(eval(f"lambda x: {code}"), output_shape=(2,), name="head")(image)
    keras.Model(image, outputs).save(path)
    marker.unlink(missing_ok=True)


def test_code_in_a_lambda_is_not_run(tmp_path, unsafe):
    path, marker = tmp_path / "lambda.keras", tmp_path / "ran"
    lambda_network(path, marker)
    with pytest.raises(ValueError, match=r"^Expected a network without code in its file\. .* which holds a Lambda$"):
        zoo.load(path)
    # As weights the same file is data: its architecture is not looked at.
    with pytest.raises(ValueError, match="it holds no layers with weights"):
        zoo.load("plain_mlp", weights=path)
    assert not marker.exists()
    keras.saving.load_model(path)(np.zeros((1, 2), "float32"))
    assert marker.exists(), "Keras would have run it here"


def test_keras_stays_in_its_safe_mode(network, tmp_path, unsafe):
    """Classes that only Keras knows to be unsafe, such as one that reads a SavedModel, code included."""
    serialized = {"module": "keras.layers", "class_name": "TFSMLayer", "registered_name": None}
    path = rewrite(network, tmp_path / "saved.keras", first_layer(serialized | {"config": {"filepath": "model"}}))
    with pytest.raises(
        ValueError, match=r"(?i)^Expected a whole \.keras file\. .*(unsafe|safe mode|arbitrary code|trust)"
    ):
        zoo.load(path)
