"""Files of weights that promise far more than they hold are refused before the memory is asked for."""

import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import h5py
import keras
import numpy as np
import pytest

import zoo
from tests.zoo.weight_files import check_refused, rewrite
from zoo.weights.checks import Bomb, limit_variables


def test_a_tensor_that_only_promises_its_size(network, tmp_path):
    torch = pytest.importorskip("torch", reason="torch, which writes .pth files, is not installed")
    torch.save({"head/bias": torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "huge.pth")
    check_refused(network, tmp_path / "huge.pth", r"declares 4,000,000,000,000 bytes but holds")


def test_an_archive_that_promises_more_than_it_holds(network, tmp_path):
    path = rewrite(network, tmp_path / "bomb.keras", None, b"\0" * 2**24, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**16
    check_refused(network, path, r"model\.weights\.h5 declares 16,777,216 bytes but holds \d\d?,\d{3}$")


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
    check_refused(network, path, r"it declares 209,715,200 bytes but holds \d{2,3},\d{3}$")
    inside = rewrite(network, tmp_path / "many.keras", None, path.read_bytes(), zipfile.ZIP_DEFLATED)
    check_refused(network, inside, r"it declares 209,715,200 bytes but holds \d{2,3},\d{3}$")


def test_archive_and_arrays_that_expand_one_in_the_other(network, tmp_path):
    """Each by a factor that is allowed, both together by one that is not."""
    weights = tmp_path / "inner.weights.h5"
    with h5py.File(weights, "w") as file:
        held = file.create_group("layers/dense/vars")
        held.attrs["name"] = "stem"
        noise = np.random.default_rng(0).integers(0, 255, 2**16, "uint8").view("float32")
        held.create_dataset("0", data=np.repeat(noise, 64), chunks=(2**14,), compression="gzip")
        held["padding"] = np.zeros(2**17, "float32")
    path = rewrite(network, tmp_path / "inner.keras", None, weights.read_bytes(), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**18
    check_refused(network, path, r"declares \d,\d{3},\d{3} bytes but holds \d{2,3},\d{3}$")


def wide(units):
    """A change of the architecture: its second layer but one, the first dense one, has so many units."""

    def change(config):
        (stem,) = [layer for layer in config["config"]["layers"] if layer["name"] == "stem"]
        stem["config"]["units"] = units
        return config

    return change


@pytest.mark.parametrize("units", [2**20, 2**24, 2**40])
def test_architecture_that_promises_more_than_its_weights(network, tmp_path, small_memory, units):
    path = rewrite(network, tmp_path / "wide.keras", wide(units))
    promised = rf"its architecture declares {4 * 16 * units:,} bytes of weights or more, but it holds \d\d,\d{{3}}$"
    with pytest.raises(ValueError, match=rf"^Expected a whole \.keras file\. Received: .*wide\.keras': {promised}"):
        zoo.load(path)
    assert zoo.load(network[1] / "whole.keras").count_params() == network[0].count_params()


def large_images(config):
    config["config"]["layers"][0]["config"]["batch_shape"] = [None, 2**12, 2**12, 1]
    return config


def test_images_that_promise_more_than_the_weights(network, tmp_path, small_memory):
    path = rewrite(network, tmp_path / "images.keras", large_images)
    with pytest.raises(ValueError, match=r"images\.keras': its architecture declares 4,294,967,296 bytes of weights"):
        zoo.load("plain_mlp", weights=path, depth=3)


def test_a_zip_of_tensors_that_promises_more_than_it_holds(network, tmp_path):
    pytest.importorskip("torch", reason="torch, which reads .pth files, is not installed")
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", b"\0" * 2**26)
    check_refused(network, tmp_path / "bomb.pth", r"it declares 67,108,864 bytes but holds \d\d?,\d{3}$")


def test_checkpoint_that_promises_more_than_it_holds(tmp_path):
    from zoo.training.checkpoints import _read

    np.savez_compressed(tmp_path / "step-1.npz", **{"network/0": np.zeros(2**22, "float32")})
    with pytest.raises(ValueError, match=r"^it declares 16,777,344 bytes but holds \d\d,\d{3}$"):
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
            with pytest.raises(Bomb, match="declares .* but it holds 0"):
                zoo.build("plain_mlp", width=512, depth=4)
        leave.set()
        waits.result()
    assert keras.Variable.__init__ is make
