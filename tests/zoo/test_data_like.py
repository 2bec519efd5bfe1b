"""Data that are read as a record says: those of the record again, or others like them."""

import sys
import types

import numpy as np
import pytest

import zoo
from zoo.training.evaluation import like as like_card
from zoo.weights.cards import card

from .image_sets import encode, pixels


class Builder:
    """A data set of TensorFlow Datasets with 50 examples, all for training."""

    info = types.SimpleNamespace(
        features={"image": types.SimpleNamespace(shape=(6, 5, 3)), "label": types.SimpleNamespace(names=["a", "b"])},
        splits={"train": types.SimpleNamespace(num_examples=50)},
    )

    def download_and_prepare(self):
        pass

    def as_dataset(self, split):
        for number in range(50):
            yield {"image": np.full((6, 5, 3), number, "uint8"), "label": number % 2}


@pytest.fixture
def tfds(monkeypatch):
    made = types.ModuleType("tensorflow_datasets")
    made.builder, made.as_numpy = lambda name: Builder(), lambda examples: examples
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", made)


def counts(source):
    return tuple(source.counts.values())


def test_data_sets_of_tensorflow_without_a_test_split_are_split_alike_again(tfds):
    source = zoo.load_source("tfds:pets")
    assert counts(source) == (40, 10)
    again = zoo.load_source(source.as_dict())
    np.testing.assert_array_equal(again.test_inputs, source.test_inputs)
    assert counts(zoo.load_source("tfds:other", like=source.as_dict())) == (50, 50)


def test_the_data_of_a_record_are_known_by_any_path_that_leads_to_them(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    rows = "".join(f"{row % 7},{row * 1.5}\n" for row in range(100))
    for name in ("t.csv", "other.csv"):
        (tmp_path / name).write_text("x,y\n" + rows)
    (tmp_path / "link.csv").symlink_to(tmp_path / "t.csv")
    monkeypatch.chdir(tmp_path / "a" / "b")
    record = zoo.load_source("../../t.csv", target="y").as_dict()
    monkeypatch.chdir(tmp_path)
    for name in ("t.csv", "a/../t.csv", "link.csv"):
        assert counts(zoo.load_source(name, like=record)) == (80, 20)
    assert counts(zoo.load_source("other.csv", like=record)) == (100, 100)
    chosen = zoo.load_source("t.csv", target="y", split_seed=3, test_fraction=0.3)
    same = zoo.load_source("t.csv", like=chosen.as_dict())
    np.testing.assert_array_equal(same.test_targets, chosen.test_targets)
    assert counts(zoo.load_source("t.csv", like=chosen.as_dict(), test_fraction=0.5)) == (50, 50)
    named = {"name": "t.csv"}  # as in a card, where it is no path
    assert counts(zoo.load_source("t.csv", target="y", like={**record, **named})) == (100, 100)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_SKIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for folder, shape in (("colour", (8, 8, 3)), ("grey", (8, 8, 1))):
        for seed in range(10):
            path = tmp_path / folder / "ab"[seed % 2] / f"{seed}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(pixels(seed, shape).squeeze()))


def test_other_photos_are_grey_or_in_colour_as_those_of_a_record(photos):
    colour, grey = (zoo.load_source(name).as_dict() for name in ("colour", "grey"))
    streamed = zoo.load_source("grey", stream=True).as_dict()
    for like, channels in ((colour, 3), (grey, 1), (streamed, 3)):
        for name in ("colour", "grey"):
            for stream in (False, True):
                source = zoo.load_source(name, like=like, stream=stream)
                assert source.input_shape == (8, 8, channels)
                assert zoo.load_source(source.as_dict()).input_shape == (8, 8, channels)
    expected = np.repeat(zoo.load_source("grey", stream=False).test_inputs, 3, axis=-1)
    np.testing.assert_array_equal(zoo.load_source("grey", like=streamed).test_inputs, expected)
    weights = card("resnet20", "cifar10")
    assert zoo.load_source("grey", like=like_card(weights)).input_shape == weights.input_shape == (32, 32, 3)


def test_arrays_are_grey_or_in_colour_as_the_photos_of_a_record(photos, tmp_path):
    grey = np.stack([pixels(seed, (8, 8)) for seed in range(10)])
    np.savez(tmp_path / "grey.npz", x_train=grey, y_train=np.arange(10) % 2, class_names=["a", "b"])
    source = zoo.load_source("grey.npz", like=zoo.load_source("colour").as_dict())
    np.testing.assert_array_equal(source.test_inputs, np.repeat(grey[..., None], 3, axis=-1))


def test_data_that_are_loaded_again_are_decoded_once(photos, tmp_path):
    for stream in (False, True):
        zoo.load_source(zoo.load_source("grey", stream=stream).as_dict())
    assert len(list((tmp_path / "cache" / "sources").iterdir())) == 2
