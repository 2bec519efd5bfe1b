"""Tables of image files as sources, for classification and regression."""

import numpy as np
import pandas
import pytest

import zoo

from .image_sets import encode, pixels

LABELS = ["cat", "dog"] * 10
AGES = [seed + 0.5 for seed in range(20)]


def frame(**changes):
    columns = {"file": [f"photos/{seed}.png" for seed in range(20)], "label": LABELS} | changes
    return pandas.DataFrame({name: values for name, values in columns.items() if values is not None})


def write(path, table, name="table.csv"):
    (path / "photos").mkdir(exist_ok=True)
    for seed in range(20):
        (path / "photos" / f"{seed}.png").write_bytes(encode(pixels(seed)))
    table.to_csv(path / name, index=False)
    return path / name


def seeds(source, part):
    """The seed of each image of a part."""
    known = {pixels(seed).tobytes(): seed for seed in range(20)}
    return [known[bytes(image)] for image in np.asarray(getattr(source, f"{part}_inputs"))]


@pytest.mark.parametrize("cached", [False, True])
def test_each_image_has_the_label_of_its_row(tmp_path, cached):
    where = tmp_path / "cache" if cached else False
    source = zoo.load_source(write(tmp_path, frame()), cache=where)
    assert (source.task, source.class_names) == ("classification", ("cat", "dog"))
    assert (len(source.train_inputs), np.bincount(source.test_targets).tolist()) == (16, [2, 2])
    for part in source.parts:
        labels = [source.class_names[label] for label in getattr(source, f"{part}_targets")]
        assert labels == [LABELS[seed] for seed in seeds(source, part)]
    assert source.preprocessing == zoo.Preprocessing.fitted(np.asarray(source.train_inputs), 1 / 255)
    again = zoo.load_source(source.as_dict(), cache=where)
    assert again.fingerprint == source.fingerprint
    np.testing.assert_array_equal(again.test_targets, source.test_targets)
    frame(label=LABELS[::-1]).to_csv(tmp_path / "table.csv", index=False)
    assert zoo.load_source(tmp_path / "table.csv", cache=where).fingerprint != source.fingerprint


def test_numbers_are_a_regression(tmp_path):
    path = write(tmp_path, frame(label=None, id=range(20), age=AGES, weight=AGES[::-1]))
    source = zoo.load_source(path, cache=False, target="age")
    assert (source.task, source.target_names) == ("regression", ("age",))
    for part in source.parts:
        expected = np.float32([[AGES[seed]] for seed in seeds(source, part)])
        np.testing.assert_array_equal(getattr(source, f"{part}_targets"), expected)
    both = zoo.load_source(path, cache=False, target="age,weight")
    assert both.train_targets.shape == (16, 2)
    with pytest.raises(ValueError, match="Expected target, the column to predict: one of file, id, age, weight"):
        zoo.load_source(path, cache=False)


def test_the_split_may_be_said(tmp_path):
    path = write(tmp_path, frame(part=["train"] * 12 + ["test"] * 8))
    source = zoo.load_source(path, cache=False, split_column="part")
    assert (seeds(source, "train"), seeds(source, "test")) == ([*range(12)], [*range(12, 20)])
    folder = tmp_path / "parts"
    folder.mkdir()
    write(folder, frame()[:15], "train.csv")
    write(folder, frame()[15:], "test.csv")
    source = zoo.load_source(folder, cache=False)
    assert (seeds(source, "train"), seeds(source, "test")) == ([*range(15)], [*range(15, 20)])


@pytest.mark.parametrize("content", [None, b"rubbish"])
def test_an_image_that_is_missing_or_damaged_is_named_or_skipped(tmp_path, content):
    path = write(tmp_path, frame(label=AGES))
    (tmp_path / "photos" / "7.png").unlink()
    if content is not None:
        (tmp_path / "photos" / "7.png").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"on_bad_image='skip' .* Received: 1 of 20 that cannot: photos/7.png \((No|no)"
    ):
        zoo.load_source(path, cache=False)
    with pytest.warns(
        UserWarning, match="Images of .*table.csv' that cannot be read are skipped, 1 in all: photos/7.png"
    ):
        source = zoo.load_source(path, cache=False, on_bad_image="skip")
    assert sorted(seeds(source, "train") + seeds(source, "test")) == [seed for seed in range(20) if seed != 7]
    for part in source.parts:
        np.testing.assert_array_equal(
            getattr(source, f"{part}_targets")[:, 0], [AGES[seed] for seed in seeds(source, part)]
        )


def test_other_images_are_read_like_those_of_a_record(tmp_path):
    record = zoo.load_source(write(tmp_path, frame()), cache=False).as_dict()
    source = zoo.load_source(write(tmp_path, frame()[::-1], "other.csv"), cache=False, like=record)
    assert source.class_names == ("cat", "dog")
    write(tmp_path, frame(label=["dog", "eel"] * 10), "other.csv")
    with pytest.raises(
        ValueError, match="Expected one of the classes cat, dog in column 'label' of .* Received: 'eel' in row 3"
    ):
        zoo.load_source(tmp_path / "other.csv", cache=False, like=record)


def test_kinds_are_refused_beside_images(tmp_path):
    path = write(tmp_path, frame(age=AGES))
    with pytest.raises(ValueError, match="columns only for a table without image files, .* columns={'age': 'number'}"):
        zoo.load_source(path, cache=False, target="label", columns={"age": "number"})
    record = zoo.load_source(path, cache=False, target="label").as_dict()
    record["options"]["columns"] = {"age": "number"}  # of an earlier run
    assert zoo.load_source(record, cache=False).fingerprint == record["fingerprint"]


def test_images_of_other_sizes_are_resized(tmp_path):
    path = write(tmp_path, frame())
    (tmp_path / "photos" / "7.png").write_bytes(encode(pixels(7, (9, 5, 3))))
    with pytest.raises(ValueError, match="Expected images of one size"):
        zoo.load_source(path, cache=False)
    assert zoo.load_source(path, cache=False, image_size=(4, 4)).input_shape == (4, 4, 3)
