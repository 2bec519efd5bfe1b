"""Files that are broken, made to harm, or not weights at all: one sentence, nothing is run, no variable changes."""

import json
import os
import pickle
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import h5py
import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import zoo
from zoo.weights.checks import Bomb, limit_variables


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A small network and whole files of it, one of each kind."""
    folder = tmp_path_factory.mktemp("whole")
    model = zoo.build("plain_mlp", input_shape=(4, 4, 1), classes=3, depth=3)
    model.save(folder / "whole.keras")
    model.save_weights(folder / "whole.weights.h5")
    arrays = {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.weights}
    save_file(arrays, folder / "whole.safetensors")
    try:
        import torch
    except ImportError:
        pass
    else:
        tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        torch.save(tensors, folder / "whole.pth")
        torch.save(tensors, folder / "whole.pt", _use_new_zipfile_serialization=False)
    return model, folder


class Touch:
    """What a pickle runs when it is read without care."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def refuses(network, path, message):
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


WHOLE = ["whole.keras", "whole.weights.h5", "whole.safetensors", "whole.pth", "whole.pt"]


@pytest.mark.parametrize("missing", [0.01, 0.5, 0.97])
@pytest.mark.parametrize("name", WHOLE)
def test_truncated_files(network, tmp_path, name, missing):
    whole = network[1] / name
    if not whole.exists():
        pytest.skip("torch, which writes .pth files, is not installed")
    data = whole.read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * (1 - missing))])
    refuses(network, tmp_path / name, f"Expected a whole {whole.suffix} file")


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize(
    "content", [b"", b"\0" * 4096, b"<html>not found</html>\n" * 9], ids=["empty", "zeros", "html"]
)
def test_files_of_something_else(network, tmp_path, name, content):
    if name.endswith((".pth", ".pt")):
        pytest.importorskip("torch", reason="torch, which reads .pth files, is not installed")
    (tmp_path / name).write_bytes(content)
    suffix = "." + name.rpartition(".")[2]
    message = "which is empty" if not content else f"Expected a whole {suffix} file"
    if not content and name.endswith(".keras"):
        message = "which is empty|Expected a whole .keras file"
    refuses(network, tmp_path / name, message)


@pytest.mark.parametrize("name", ["weights.npz", "weights.ckpt", "weights.onnx", "checkpoint.pth.tar"])
def test_other_kinds_of_files(network, tmp_path, name):
    (tmp_path / name).write_bytes(b"data")
    refuses(
        network, tmp_path / name, r"in a file that ends in \.keras, \.weights\.h5, \.h5, \.safetensors, \.pth or \.pt\."
    )


def test_a_folder_is_not_a_file(network, tmp_path):
    for name in ("folder", "folder.keras", "folder.safetensors"):
        (tmp_path / name).mkdir()
        with pytest.raises(ValueError, match=rf"Expected .* Received: .*{name}'"):
            zoo.load("plain_mlp", weights=tmp_path / name)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_a_pickle_that_runs_a_command_does_not_run_it(network, tmp_path, form):
    torch = pytest.importorskip("torch", reason="torch, which writes .pth files, is not installed")
    marker, path = tmp_path / "ran", tmp_path / "harm.pth"
    held = {"stem/kernel": torch.zeros(2), "harm": Touch(marker)}
    if form == "pickle":
        path.write_bytes(pickle.dumps({"harm": Touch(marker)}))
    else:
        torch.save(held, path, _use_new_zipfile_serialization=form == "zip")
    refuses(network, path, "a pickle that is broken or holds more than tensors; nothing of it was run")
    assert not marker.exists()
    pickle.loads(pickle.dumps(Touch(marker)))
    assert marker.exists(), "the command would have left its mark"


def test_a_whole_module_is_not_a_state_dict(network, tmp_path):
    torch = pytest.importorskip("torch", reason="torch, which writes .pth files, is not installed")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    refuses(network, tmp_path / "module.pth", "holds more than tensors")
    torch.save({"epoch": 3, "loss": 0.1}, tmp_path / "figures.pth")
    refuses(network, tmp_path / "figures.pth", "it holds no state dict")


def test_a_tensor_that_only_promises_its_size(network, tmp_path):
    torch = pytest.importorskip("torch", reason="torch, which writes .pth files, is not installed")
    torch.save({"head/bias": torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "huge.pth")
    refuses(network, tmp_path / "huge.pth", r"promises 4,000,000,000,000 bytes and holds")


def rewritten(network, path, config=None, weights=None, compression=zipfile.ZIP_STORED):
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
    path = rewritten(network, tmp_path / "strange.keras", first_layer(serialized))
    with pytest.raises(ValueError, match=rf"^Expected a network of classes of keras and keras_skip; .*{message}$"):
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
    path = rewritten(network, tmp_path / "saved.keras", first_layer(serialized | {"config": {"filepath": "model"}}))
    with pytest.raises(
        ValueError, match=r"(?i)^Expected a whole \.keras file\. .*(unsafe|safe mode|arbitrary code|trust)"
    ):
        zoo.load(path)


def test_an_archive_that_promises_more_than_it_holds(network, tmp_path):
    path = rewritten(network, tmp_path / "bomb.keras", None, b"\0" * 2**24, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**16
    refuses(network, path, r"model\.weights\.h5 promises 16,777,216 bytes and holds \d\d?,\d{3}$")


def test_an_archive_without_weights(network, tmp_path):
    with zipfile.ZipFile(tmp_path / "empty.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    refuses(network, tmp_path / "empty.keras", r"it holds no model\.weights\.h5")


def test_an_architecture_that_is_not_json(network, tmp_path):
    path = tmp_path / "text.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "[" * 10**5)
        archive.writestr("model.weights.h5", b"data")
    with pytest.raises(ValueError, match=r"^Expected a whole \.keras file"):
        zoo.load(path)


def huge(layer):
    layer.create_dataset("vars/0", shape=(10**6, 10**6), chunks=(1000, 1000), dtype="float32")


def link(layer):
    layer["vars/0"] = h5py.ExternalLink("other.h5", "secret")


def soft_link(layer):
    layer["vars/0"] = h5py.SoftLink("/layers")


def external(layer):
    layer.create_dataset("vars/0", (4,), "uint8", external=[("secret.bin", 0, 4)])


def circle(layer):
    layer["vars/0"] = np.zeros(2)
    layer["again"] = layer.parent


def namesake(layer):
    layer["vars/0"] = np.zeros(2)
    layer.parent["other/vars/0"] = np.zeros(2)
    layer.parent["other/vars"].attrs["name"] = "stem"


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (huge, r"stem/kernel promises 4,000,000,000,000 bytes and holds 0$"),
        (link, r"it holds a link, 0$"),
        (soft_link, r"it holds a link, 0$"),
        (external, r"stem/kernel is not an array in this file$"),
        (circle, r"it holds again twice$"),
        (namesake, r"it holds two arrays named stem/kernel$"),
    ],
)
def test_hdf5_files_with_more_than_arrays(network, tmp_path, write, message):
    path = tmp_path / "strange.weights.h5"
    (tmp_path / "secret.bin").write_bytes(b"data")
    with h5py.File(path, "w") as file:
        layer = file.create_group("layers/dense")
        layer.create_group("vars").attrs["name"] = "stem"
        write(layer)
    refuses(network, path, message)
    inside = rewritten(network, tmp_path / "strange.keras", None, path.read_bytes())
    with pytest.raises(ValueError, match=message):
        zoo.load_weights(network[0], inside)
    with pytest.raises(ValueError, match=r"^Expected a whole \.keras file"):
        zoo.load(inside)


@pytest.mark.parametrize(
    "held", [[], {"class_name": "InputLayer"}, {"class_name": "InputLayer", "config": {"batch_shape": 3}}]
)
def test_weights_beside_an_architecture_of_something_else_are_still_read(network, tmp_path, held):
    path = rewritten(network, tmp_path / "odd.keras", lambda _: held)
    loaded = zoo.load("plain_mlp", weights=path, input_shape=(4, 4, 1), depth=3)
    np.testing.assert_array_equal(loaded.get_weights()[0], network[0].get_weights()[0])


@pytest.fixture
def small_memory(monkeypatch):
    """Fails where a variable above 64 MiB is made."""
    make = keras.Variable.__init__

    def checked(self, initializer, shape=None, *rest, **named):
        assert shape is None or np.prod(shape, dtype=float) < 2**24, f"{shape} was asked for"
        make(self, initializer, shape, *rest, **named)

    monkeypatch.setattr(keras.Variable, "__init__", checked)


def compressed(path, *shapes):
    """A file of weights whose arrays promise zeros that are not stored."""
    with h5py.File(path, "w") as file:
        for place, shape in enumerate(shapes):
            held = file.create_group(f"layers/dense_{place}/vars")
            held.attrs["name"] = f"layer{place}" if place else "stem"
            held.create_dataset("0", shape, "float32", chunks=True, compression="gzip")
    return path


def test_arrays_that_promise_much_together(network, tmp_path):
    path = compressed(tmp_path / "many.weights.h5", *[(2**9, 2**9)] * 200)
    refuses(network, path, r"it promises 209,715,200 bytes and holds \d{2,3},\d{3}$")
    inside = rewritten(network, tmp_path / "many.keras", None, path.read_bytes(), zipfile.ZIP_DEFLATED)
    refuses(network, inside, r"it promises 209,715,200 bytes and holds \d{2,3},\d{3}$")


def test_archive_and_arrays_that_expand_one_in_the_other(network, tmp_path):
    """Each by a factor that is allowed, both together by one that is not."""
    weights = tmp_path / "inner.weights.h5"
    with h5py.File(weights, "w") as file:
        held = file.create_group("layers/dense/vars")
        held.attrs["name"] = "stem"
        noise = np.random.default_rng(0).integers(0, 255, 2**16, "uint8").view("float32")
        held.create_dataset("0", data=np.repeat(noise, 64), chunks=(2**14,), compression="gzip")
        held["padding"] = np.zeros(2**17, "float32")
    path = rewritten(network, tmp_path / "inner.keras", None, weights.read_bytes(), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**18
    refuses(network, path, r"promises \d,\d{3},\d{3} bytes and holds \d{2,3},\d{3}$")


def wide(units):
    """A change of the architecture: its second layer but one, the first dense one, has so many units."""

    def change(config):
        (stem,) = [layer for layer in config["config"]["layers"] if layer["name"] == "stem"]
        stem["config"]["units"] = units
        return config

    return change


@pytest.mark.parametrize("units", [2**20, 2**24, 2**40])
def test_architecture_that_promises_more_than_its_weights(network, tmp_path, small_memory, units):
    path = rewritten(network, tmp_path / "wide.keras", wide(units))
    promised = rf"its architecture promises {4 * 16 * units:,} bytes of weights or more, and it holds \d\d,\d{{3}}$"
    with pytest.raises(ValueError, match=rf"^Expected a whole \.keras file\. Received: .*wide\.keras': {promised}"):
        zoo.load(path)
    assert zoo.load(network[1] / "whole.keras").count_params() == network[0].count_params()


def large_images(config):
    config["config"]["layers"][0]["config"]["batch_shape"] = [None, 2**12, 2**12, 1]
    return config


def test_images_that_promise_more_than_the_weights(network, tmp_path, small_memory):
    path = rewritten(network, tmp_path / "images.keras", large_images)
    with pytest.raises(ValueError, match=r"images\.keras': its architecture promises 4,294,967,296 bytes of weights"):
        zoo.load("plain_mlp", weights=path, depth=3)


def test_a_zip_of_tensors_that_promises_more_than_it_holds(network, tmp_path):
    pytest.importorskip("torch", reason="torch, which reads .pth files, is not installed")
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", b"\0" * 2**26)
    refuses(network, tmp_path / "bomb.pth", r"it promises 67,108,864 bytes and holds \d\d?,\d{3}$")


def test_checkpoint_that_promises_more_than_it_holds(tmp_path):
    from zoo.training.checkpoints import _read

    np.savez_compressed(tmp_path / "step-1.npz", **{"network/0": np.zeros(2**22, "float32")})
    with pytest.raises(ValueError, match=r"^it promises 16,777,344 bytes and holds \d\d,\d{3}$"):
        _read(tmp_path / "step-1.npz")
    np.savez(tmp_path / "step-2.npz", **{"network/0": np.zeros(2**16, "float32")})
    assert _read(tmp_path / "step-2.npz")["network/0"].shape == (2**16,)


def test_what_other_threads_make_meanwhile_does_not_count():
    make = keras.Variable.__init__
    entered, leave = threading.Event(), threading.Event()

    def reads_too():
        with limit_variables(held=0):
            entered.set()
            leave.wait(10)

    with ThreadPoolExecutor(2) as pool:
        with limit_variables(held=0):
            pool.submit(zoo.build, "plain_mlp", width=512, depth=4).result()
            waits = pool.submit(reads_too)
            assert not entered.wait(0.5), "one at a time"
            with pytest.raises(Bomb, match="promises .* and it holds 0"):
                zoo.build("plain_mlp", width=512, depth=4)
        leave.set()
        waits.result()
    assert keras.Variable.__init__ is make
