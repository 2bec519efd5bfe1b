"""Data that are read as a record says: those of the record again, or others like them."""

import sys
import types

import numpy as np
import pytest

import zoo


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
    card = {"name": "t.csv", "class_names": []}  # the name of a data set is no path
    assert counts(zoo.load_source("t.csv", target="y", like={**record, **card})) == (100, 100)
