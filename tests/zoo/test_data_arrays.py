"""Arrays as data sources: .npz files, CIFAR's own files, and the part that is set aside for validation."""

import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

import zoo

MNIST = Path(os.environ.get("KERAS_SKIP_DATA", Path(__file__).parents[3] / "shared" / "data")) / "mnist.npz"


def arrays(**changes):
    rng = np.random.default_rng(0)
    found = {
        "x_train": rng.integers(0, 256, (30, 4, 4), dtype="uint8"),
        "y_train": np.arange(30) % 3,
        "x_test": rng.integers(0, 256, (9, 4, 4), dtype="uint8"),
        "y_test": np.arange(9) % 3,
    } | changes
    return {name: value for name, value in found.items() if value is not None}


def load(tmp_path, **changes):
    np.savez(tmp_path / "data.npz", **arrays(**changes))
    return zoo.load_source(tmp_path / "data.npz")


def test_keras_layout_is_read(tmp_path):
    source, given = load(tmp_path), arrays()
    np.testing.assert_array_equal(source.train_inputs, given["x_train"][..., None])
    np.testing.assert_array_equal(source.test_targets, given["y_test"])
    assert source.class_names == ("0", "1", "2")
    assert source.preprocessing(source.train_inputs).std() == pytest.approx(1, abs=1e-5)


def test_integers_labels_in_a_column_class_names_and_validation_are_read(tmp_path):
    more = arrays()
    source = load(
        tmp_path,
        x_train=more["x_train"].astype("int64"),
        y_train=more["y_train"].astype("uint8")[:, None],
        class_names=np.array(["a", "b", "c"]),
        x_val=more["x_test"],
        y_val=more["y_test"],
    )
    assert source.train_inputs.dtype == np.uint8
    assert source.class_names == ("a", "b", "c")
    assert source.parts == ("train", "validation", "test")


def test_without_test_images_a_part_is_split_off(tmp_path):
    source = load(tmp_path, x_test=None, y_test=None)
    assert np.bincount(source.test_targets).tolist() == [2, 2, 2]
    assert (len(source.train_inputs), len(source.test_inputs)) == (24, 6)


def signals(shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).normal(3, 2, shape).astype(dtype)


@pytest.mark.parametrize("shape", [(30, 7), (30, 16, 2), (30, 4, 4, 7), (30, 3, 4, 5, 2)])
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_floats_of_any_rank_are_signals_scaled_by_channel(tmp_path, shape, dtype):
    train, test = signals(shape, dtype), signals((9, *shape[1:]), dtype, seed=1)
    source = load(tmp_path, x_train=train, x_test=test)
    assert (source.task, source.train_inputs.dtype, source.preprocessing.scale) == ("classification", "float32", 1)
    np.testing.assert_array_equal(source.test_inputs, test.astype("float32"))
    axes = tuple(range(len(shape) - 1))
    np.testing.assert_allclose(source.preprocessing.mean, train.astype("float64").mean(axes), rtol=1e-5)
    np.testing.assert_allclose(source.preprocessing.std, train.astype("float64").std(axes), rtol=1e-5)


def test_integers_that_may_be_tokens_stay_as_they_are(tmp_path):
    tokens = np.random.default_rng(0).integers(0, 5000, (30, 12))
    source = load(tmp_path, x_train=tokens, x_test=tokens[:9])
    np.testing.assert_array_equal(source.preprocessing(source.train_inputs), tokens)
    assert source.train_inputs.dtype.kind == "i"


def test_floats_as_targets_are_a_regression(tmp_path):
    targets = signals((30, 2), "float64")
    source = load(tmp_path, y_train=targets, x_test=None, y_test=None, target_names=np.array(["a", "b"]))
    assert (source.task, source.target_names, source.class_names) == ("regression", ("a", "b"), ())
    found = np.concatenate([source.train_targets, source.test_targets])
    assert found.dtype == np.float32
    assert sorted(map(tuple, found)) == sorted(map(tuple, targets.astype("float32")))
    assert len(source.test_targets) == 6
    assert load(tmp_path, y_train=targets[:, 0], y_test=targets[:9, 0]).target_names == ("target",)


def test_a_column_of_integers_is_classes_and_no_mask(tmp_path):
    labels = np.arange(30)[:, None] % 3
    source = load(tmp_path, x_train=signals((30, 1, 4)), y_train=labels, x_test=None, y_test=None)
    assert (source.task, source.train_targets.shape) == ("classification", (24,))


def test_the_task_overrides_the_type_of_the_targets(tmp_path):
    np.savez(tmp_path / "data.npz", **arrays())
    source = zoo.load_source(tmp_path / "data.npz", task="regression")
    np.testing.assert_array_equal(source.test_targets, np.float32(np.arange(9) % 3)[:, None])
    assert zoo.load_source(source.as_dict()).task == "regression"
    with pytest.raises(ValueError, match=r"y_train of .* as integers of shape \(30, 4, 4\). Received: int64"):
        zoo.load_source(tmp_path / "data.npz", task="segmentation")


def test_integers_of_the_shape_of_the_images_are_masks(tmp_path):
    rng = np.random.default_rng(0)
    train, test = (rng.choice([0, 1, 2, 255], (count, 4, 4)) for count in (30, 9))
    source = load(tmp_path, y_train=train, y_test=test)
    assert (source.task, source.class_names, source.train_targets.dtype) == ("segmentation", ("0", "1", "2"), "uint8")
    np.testing.assert_array_equal(source.test_targets, test)


WRONG = {
    "Expected x_train, y_train, x_test and y_test in .* Received: y_train": {"x_train": None},
    "Expected x_test in .*which has its targets": {"x_test": None},
    "Expected y_test of .* as 9 integers.*Received: nothing": {"y_test": None},
    "x_test of .* as integers from 0 to 255, like x_train. Received: int64 .* from 0 to 256": {
        "x_test": np.full((9, 4, 4), 256) * (np.arange(9) > 3)[:, None, None]
    },
    r"x_train of .* as finite numbers in the range of float32. Received: others in x_train\[7\]": {
        "x_train": np.where(np.arange(30) == 7, np.inf, 1.0)[:, None]
    },
    r"x_train of .* as finite numbers in the range of float32. Received: others in x_train\[29\]": {
        "x_train": np.where(np.arange(30) == 29, 1e300, 1.0)[:, None]
    },
    r"as numbers, with the examples in the first of two axes or more. .* shape \(30,\)": {"x_train": np.zeros(30)},
    r"as numbers, with the examples in the first of two axes or more. .*complex128": {
        "x_train": np.zeros((30, 4)) * 1j
    },
    r"as numbers, with the examples in the first of two axes or more. .* shape \(0, 4, 4\)": {
        "x_test": np.zeros((0, 4, 4), "uint8")
    },
    "y_test of .* as numbers, one or more for each of 9 examples. Received: <U1": {
        "y_train": np.linspace(0, 1, 30),
        "y_test": np.array(list("abcabcabc")),
    },
    "y_train of .* as 30 integers.*Received: <U1": {"y_train": np.array(["a"] * 30)},
    r"y_train of .* as 30 integers.*shape \(29,\)": {"y_train": np.arange(29) % 3},
    r"y_train of .* as 30 integers.*shape \(30, 3\)": {"y_train": np.eye(3, dtype=int)[np.arange(30) % 3]},
    "test_targets of .* from 0 to 2. Received: 3": {"y_test": np.arange(9) % 4},
    "train_targets of .* from 0 to 2. Received: -1": {"y_train": np.arange(30) % 4 - 1},
    "y_train of .* from 0 to 255. Received: from -1 to 0": {"y_train": np.arange(480).reshape(30, 4, 4) % 2 - 1},
    "Expected training examples of every class .* Received: none of 1": {"y_train": np.arange(30) % 2 * 2},
    "train_targets of .* from 0 to 1. Received: 2": {"class_names": np.array(["a", "b"])},
    r"Expected 1 target_names .* Received: \('a', 'b'\)": {
        "y_train": np.linspace(0, 1, 30),
        "y_test": np.linspace(0, 1, 9),
        "target_names": np.array(["a", "b"]),
    },
    "Expected test_inputs of the shape of train_inputs": {"x_test": np.zeros((9, 5, 4), "uint8")},
    "pickled objects, which may run any code": {"y_train": np.array([None] * 30)},
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_arrays_are_refused(tmp_path, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, **WRONG[message])


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_a_damaged_npz_is_refused(tmp_path, content):
    path = tmp_path / "data.npz"
    np.savez(path, **arrays())
    path.write_bytes(path.read_bytes()[:900] if content is None else content)
    with pytest.raises(ValueError, match="Expected an .npz file of plain arrays. Received: .*data.npz"):
        zoo.load_source(path)


@pytest.mark.skipif(not MNIST.exists(), reason="no mnist.npz in KERAS_SKIP_DATA or ../shared/data")
def test_the_real_mnist():
    source = zoo.load_source(MNIST)
    assert source.input_shape == (28, 28, 1)
    assert (len(source.train_inputs), len(source.test_inputs)) == (60_000, 10_000)
    assert np.bincount(source.train_targets)[:3].tolist() == [5923, 6742, 5958]
    assert source.preprocessing.mean == pytest.approx([0.1307], abs=1e-4)
    assert source.preprocessing.std == pytest.approx([0.3081], abs=1e-4)


def cifar(hundred):
    """Files in the layout of CIFAR, of 20 examples each."""

    def batch(seed):
        rng = np.random.default_rng(seed)
        labels = (np.arange(20) % 2).tolist()
        key = b"fine_labels" if hundred else b"labels"
        return {b"data": rng.integers(0, 256, (20, 3072), dtype="uint8"), key: labels}

    if hundred:
        return {"train": batch(1), "test": batch(2), "meta": {b"fine_label_names": [b"apple", b"bear"]}}
    names = [f"data_batch_{number}" for number in range(1, 6)]
    found = {name: batch(seed) for seed, name in enumerate(names, 1)}
    return found | {"test_batch": batch(6), "batches.meta": {b"label_names": [b"ship", b"truck"]}}


def write_cifar(path, contents):
    for name, content in contents.items():
        data = content if isinstance(content, bytes) else pickle.dumps(content, 2)
        path.parent.mkdir(exist_ok=True)
        with tarfile.open(path, "a") as archive:
            member = tarfile.TarInfo(f"cifar-batches-py/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize("hundred", [False, True])
def test_cifar_is_read_from_its_own_files(tmp_path, hundred):
    files = cifar(hundred)
    write_cifar(tmp_path / "cifar.tar", files)
    source = zoo.load_source(tmp_path / "cifar.tar", cache=tmp_path)
    first = files["train" if hundred else "data_batch_1"][b"data"][0].reshape(3, 32, 32)
    np.testing.assert_array_equal(source.train_inputs[0], first.transpose(1, 2, 0))
    assert len(source.train_inputs) == (20 if hundred else 100)
    assert source.class_names == (("apple", "bear") if hundred else ("ship", "truck"))
    with tarfile.open(tmp_path / "cifar.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    assert not (tmp_path / "sources").exists() or not list((tmp_path / "sources").iterdir()), "nothing was decoded"
    extracted = zoo.load_source(tmp_path / "cifar-batches-py")
    assert extracted.fingerprint == source.fingerprint
    assert zoo.load_source(extracted.as_dict()).fingerprint == source.fingerprint


class Evil:
    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.mark.parametrize(
    "content", [{b"data": Evil()}, {b"data": np.zeros((2, 5))}, {}, [], b"", b"hello"], ids=lambda value: str(value)[:9]
)
def test_wrong_files_of_cifar_are_refused_and_never_run(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    write_cifar(tmp_path / "cifar.tar", cifar(True) | {"train": content})
    with pytest.raises(ValueError, match="Expected the files of CIFAR in .*cifar.tar"):
        zoo.load_source(tmp_path / "cifar.tar", cache=False)
    assert not Path("pwned").exists()


def test_validation_is_a_part_of_the_training_examples_alone():
    source = zoo.load_source("digits")
    split = source.with_validation(0.1, seed=4)
    assert split.parts == ("train", "validation", "test")
    np.testing.assert_array_equal(split.test_inputs, source.test_inputs)
    both = np.concatenate([split.train_inputs, split.validation_inputs])
    assert sorted(map(bytes, both)) == sorted(map(bytes, source.train_inputs))
    share = np.bincount(split.validation_targets) / np.bincount(source.train_targets)
    np.testing.assert_allclose(share, 0.1, atol=0.005)
    again = source.with_validation(0.1, seed=4)
    np.testing.assert_array_equal(split.validation_inputs, again.validation_inputs)
    other = source.with_validation(0.1, seed=5)
    assert not np.array_equal(split.validation_targets, other.validation_targets)
    assert split.with_validation(0.5) is split
    np.testing.assert_array_equal(zoo.load_source(split.as_dict()).validation_inputs, split.validation_inputs)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 2])
def test_a_wrong_fraction_is_refused(fraction):
    with pytest.raises(ValueError, match="Expected a fraction between 0 and 1"):
        zoo.load_source("digits").with_validation(fraction)


def test_tensorflow_datasets_are_asked_for_where_they_are_not_installed(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ValueError, match="'tfds:mnist' needs TensorFlow Datasets: pip install tensorflow-datasets"):
        zoo.load_source("tfds:mnist")


def test_a_download_that_fails_says_what_else_there_is(monkeypatch):
    import keras

    def load_data():
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.datasets.cifar10, "load_data", load_data)
    with pytest.raises(OSError, match="cifar10 cannot be downloaded: .* give the path of a file"):
        zoo.load_source("cifar10")
