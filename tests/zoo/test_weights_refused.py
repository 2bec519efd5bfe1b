"""Files of weights that are broken or hold something else: a one-line error, and no variable changes."""

import zipfile

import h5py
import numpy as np
import pytest

import zoo
from tests.zoo.weight_files import check_refused, rewrite

WHOLE = ["whole.keras", "whole.weights.h5", "whole.safetensors", "whole.pth", "whole.pt"]


@pytest.mark.parametrize("missing", [0.01, 0.5, 0.97])
@pytest.mark.parametrize("name", WHOLE)
def test_truncated_files(network, tmp_path, name, missing):
    whole = network[1] / name
    if not whole.exists():
        pytest.skip("torch, which writes .pth files, is not installed")
    data = whole.read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * (1 - missing))])
    check_refused(network, tmp_path / name, f"Expected a whole {whole.suffix} file")


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
    check_refused(network, tmp_path / name, message)


@pytest.mark.parametrize("name", ["weights.npz", "weights.ckpt", "weights.onnx", "checkpoint.pth.tar"])
def test_other_kinds_of_files(network, tmp_path, name):
    (tmp_path / name).write_bytes(b"data")
    check_refused(
        network, tmp_path / name, r"in a file that ends in \.keras, \.weights\.h5, \.h5, \.safetensors, \.pth or \.pt\."
    )


def test_a_folder_is_not_a_file(network, tmp_path):
    for name in ("folder", "folder.keras", "folder.safetensors"):
        (tmp_path / name).mkdir()
        with pytest.raises(ValueError, match=rf"Expected .* Received: .*{name}'"):
            zoo.load("plain_mlp", weights=tmp_path / name)


def test_a_whole_module_is_not_a_state_dict(network, tmp_path):
    torch = pytest.importorskip("torch", reason="torch, which writes .pth files, is not installed")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    check_refused(network, tmp_path / "module.pth", "holds more than tensors")
    torch.save({"epoch": 3, "loss": 0.1}, tmp_path / "figures.pth")
    check_refused(network, tmp_path / "figures.pth", "it holds no state dict")


def test_an_archive_without_weights(network, tmp_path):
    with zipfile.ZipFile(tmp_path / "empty.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    check_refused(network, tmp_path / "empty.keras", r"it holds no model\.weights\.h5")


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
        (huge, r"stem/kernel declares 4,000,000,000,000 bytes but holds 0$"),
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
    check_refused(network, path, message)
    inside = rewrite(network, tmp_path / "strange.keras", None, path.read_bytes())
    with pytest.raises(ValueError, match=message):
        zoo.load_weights(network[0], inside)
    with pytest.raises(ValueError, match=r"^Expected a whole \.keras file"):
        zoo.load(inside)


@pytest.mark.parametrize(
    "held", [[], {"class_name": "InputLayer"}, {"class_name": "InputLayer", "config": {"batch_shape": 3}}]
)
def test_weights_beside_an_architecture_of_something_else_are_still_read(network, tmp_path, held):
    path = rewrite(network, tmp_path / "odd.keras", lambda _: held)
    loaded = zoo.load("plain_mlp", weights=path, input_shape=(4, 4, 1), depth=3)
    np.testing.assert_array_equal(loaded.get_weights()[0], network[0].get_weights()[0])
