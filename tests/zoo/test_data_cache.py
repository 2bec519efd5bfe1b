"""The cache of decoded images: read again, not decoded again; whole, whatever happens; and sources found by record."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zoo
from export.images import ImageReader
from zoo.data import cache
from zoo.data.rows import Rows

LOAD = "import sys, zoo; print(zoo.load_source(sys.argv[1]).fingerprint)"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    path = tmp_path / "cache"
    monkeypatch.setenv("KERAS_SKIP_CACHE", str(path))
    return path


@pytest.fixture
def data(tmp_path):
    """A folder of 40 images in two classes."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(20):
            image = rng.integers(0, 256, (6, 5, 3), dtype="uint8")
            Image.fromarray(image).save(tmp_path / "pets" / name / f"{number}.png")
    return tmp_path / "pets"


def counting(monkeypatch):
    decoded = []
    read = ImageReader.__call__
    monkeypatch.setattr(ImageReader, "__call__", lambda *args: decoded.append(1) or read(*args))
    return decoded


def everything(source):
    names = [f"{part}_{kind}" for part in source.parts for kind in ("inputs", "targets")]
    return [np.asarray(getattr(source, name)).tolist() for name in names]


def test_images_are_decoded_once(data, folder, monkeypatch):
    decoded = counting(monkeypatch)
    first = zoo.load_source(data)
    assert len(decoded) == 40
    second = zoo.load_source(data)
    assert len(decoded) == 40
    assert everything(first) == everything(second) == everything(zoo.load_source(data, cache=False))
    assert first.as_dict() == second.as_dict()
    assert isinstance(second.train_inputs.whole, np.memmap)
    assert [path.name[:5] for path in (folder / "sources").iterdir()] == ["pets-"]


def test_a_change_of_files_or_options_is_noticed(data, monkeypatch):
    decoded = counting(monkeypatch)
    before = zoo.load_source(data)
    assert zoo.load_source(data, image_size=(4, 4)).input_shape == (4, 4, 3)
    Image.new("RGB", (5, 6)).save(data / "cat" / "3.png")
    after = zoo.load_source(data)
    assert len(decoded) == 120
    assert before.fingerprint != after.fingerprint


def test_progress_counts_to_the_end(data):
    seen = []
    zoo.load_source(data, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_two_processes_at_once_do_not_disturb_each_other(data, folder):
    start = [sys.executable, "-c", LOAD, str(data)]
    root = Path(__file__).parents[2]
    processes = [subprocess.Popen(start, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert answers[0] == answers[1] == zoo.load_source(data).fingerprint + "\n"
    assert len(list((folder / "sources").iterdir())) == 1


def test_an_error_leaves_nothing_in_the_cache(data, folder):
    (data / "cat" / "bad.png").write_bytes(b"?")
    with pytest.raises(ValueError, match="1 of 41"):
        zoo.load_source(data)
    assert list((folder / "sources").iterdir()) == []


@pytest.mark.parametrize("name", ["images.npy", "train.npy", "source.json"])
@pytest.mark.parametrize("how", ["truncated", "missing", "empty"])
def test_a_damaged_cache_is_made_anew(data, folder, name, how, monkeypatch):
    expected = everything(zoo.load_source(data))
    (path,) = folder.glob(f"sources/pets-*/{name}")
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: -10 if how == "truncated" else 0])
    decoded = counting(monkeypatch)
    assert everything(zoo.load_source(data)) == expected
    assert len(decoded) == 40


def test_where_the_cache_cannot_be_written_the_images_stay_in_memory(data, folder):
    folder.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="The cache folder cannot be written, .* Set KERAS_SKIP_CACHE to use another"):
        source = zoo.load_source(data)
    assert everything(source) == everything(zoo.load_source(data, cache=False))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full, which is a disk that is full")
def test_a_full_disk_is_an_error_that_says_so(data, folder, monkeypatch):
    monkeypatch.setattr(cache.ImageStack, "_new", lambda self, name: Path("/dev/full").open("wb+", buffering=0))  # noqa: SIM115
    match = "No space left on device in the cache folder. .* another one, or pass cache=False to use none"
    with pytest.raises(OSError, match=match):
        zoo.load_source(data)
    assert list((folder / "sources").iterdir()) == []


def test_the_cache_is_where_it_is_said_to_be(monkeypatch, tmp_path):
    assert cache.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("KERAS_SKIP_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "keras-skip"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_folder() == Path.home() / ".cache" / "keras-skip"


def test_a_cache_folder_of_its_own(data, tmp_path, folder):
    zoo.load_source(data, cache=tmp_path / "other")
    assert (tmp_path / "other" / "sources").is_dir()
    assert not folder.exists()


@pytest.mark.parametrize("options", [{}, {"image_size": (4, 4), "split_seed": 3, "test_fraction": 0.5}])
@pytest.mark.parametrize("split", [False, True])
def test_a_source_is_found_again_by_its_record(data, options, split):
    source = zoo.load_source(data, **options)
    source = source.with_validation(0.25, seed=2) if split else source
    record = json.loads(json.dumps(source.as_dict()))
    assert everything(zoo.load_source(record)) == everything(source)


def test_data_that_has_changed_since_its_record_is_refused(data):
    record = zoo.load_source(data).as_dict()
    Image.new("RGB", (5, 6)).save(data / "cat" / "3.png")
    with pytest.raises(ValueError, match=f"{record['fingerprint']}. Received: .*pets', which has changed since"):
        zoo.load_source(record)


def test_data_that_was_copied_is_the_same(data):
    record = zoo.load_source(data).as_dict()
    for path in data.rglob("*.png"):
        os.utime(path, (1, 1))
    assert zoo.load_source(record).fingerprint == record["fingerprint"]


def test_a_relative_path_is_found_from_elsewhere(data, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    record = zoo.load_source("pets").as_dict()
    monkeypatch.chdir("/")
    assert zoo.load_source(record).name == str(data)


@pytest.mark.parametrize(
    ("name", "near"),
    [("digit", "digits"), ("cifar-10", "cifar10"), ("pet", "pets"), ("./pest", "pets"), ("nothing_like_it", None)],
)
def test_a_wrong_name_is_answered_with_the_right_ones(data, tmp_path, monkeypatch, name, near):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="Expected data source to be one of digits, .* which does not exist") as error:
        zoo.load_source(name)
    assert str(error.value).endswith("does not exist." if near is None else "?")
    assert near is None or near in str(error.value).partition("Did you mean")[2]


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "data.txt").write_text("1,2")
    with pytest.raises(ValueError, match=r"Expected a folder, or a file that ends in \.npz, .*\.tar"):
        zoo.load_source(tmp_path / "data.txt")


@pytest.mark.parametrize("option", [{"on_bad_image": "ignore"}, {"test_fraction": 1.0}, {"split_seed": -1}])
def test_a_wrong_option_is_refused(data, option):
    (name,) = option
    with pytest.raises(ValueError, match=f"Expected {name} to be"):
        zoo.load_source(data, **option)


def test_rows_of_an_array_on_disk(tmp_path):
    whole = np.arange(60, dtype="uint8").reshape(10, 2, 3, 1)
    np.save(tmp_path / "whole.npy", whole)
    places = np.array([7, 2, 2, 9])
    some = Rows(np.load(tmp_path / "whole.npy", mmap_mode="r"), places)
    expected = whole[places]
    assert (some.shape, some.dtype, some.ndim, len(some)) == (expected.shape, expected.dtype, 4, 4)
    for index in (0, -1, slice(1, 3), [3, 0], np.array([1, 1]), np.s_[:2, 1], np.s_[..., 0]):
        np.testing.assert_array_equal(some[index], expected[index])
    np.testing.assert_array_equal(some, expected)
    assert np.asarray(some, "float32").dtype == np.float32


def test_preprocessing_takes_the_images_of_a_folder(data):
    source = zoo.load_source(data)
    assert isinstance(source.train_inputs, Rows)
    expected = source.preprocessing(np.asarray(source.train_inputs))
    np.testing.assert_array_equal(source.preprocessing(source.train_inputs), expected)
    assert abs(expected.mean()) < 0.01


@pytest.mark.parametrize("cached", [True, False])
def test_a_single_class_is_refused(data, tmp_path, cached):
    (data / "dog").rename(tmp_path / "dog")
    with pytest.raises(ValueError, match=r"Expected train_targets of two classes or more. .* only examples of 'cat'"):
        zoo.load_source(data, cache=cached)
