"""Predictions of numbers, for tables, and of masks."""

from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pandas
import pytest
from keras import layers
from PIL import Image

import export
from export.images import ImageReader
from export.prediction.answers import find_classes, make_answer
from export.storage.schema import check_task
from export.tables import Column, Columns
from tests.export.models import images, mlp, randomise
from tests.export.predictions import encode, outputs_of, rows_of, write_folder

pytestmark = pytest.mark.usefixtures("in_this_process")


def test_numbers_have_the_names_of_the_outputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    artifact = export.export(mlp(), "numbers", formats="onnx", device="cpu", batch_sizes=(1, 2)).path
    x = np.random.default_rng(0).normal(size=(5, 6))
    np.save("x.npy", x)
    export.predict_files(artifact, "x.npy", "out.csv", batch_size=5)
    rows = rows_of("out.csv")
    assert list(rows[0]) == ["file", "output1", "output2", "output3"]
    found = np.float32([list(row.values())[1:] for row in rows])
    np.testing.assert_array_equal(found, outputs_of(artifact, x.astype("float32")))
    Path("photo.png").write_bytes(encode(images(1)[0]))
    with pytest.raises(ValueError, match=r"Expected files that end in one of .npy, .npz.* Received: 'photo.png'"):
        export.predict_files(artifact, "photo.png", "other.csv")


def test_rows_of_a_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    columns = Columns((Column("age"), Column("size"), Column("town", "category", ("Bath", "York"))), ("rent", "error"))
    inputs = keras.Input((3,))
    model = randomise(keras.Model(inputs, layers.Dense(2)(inputs)))
    about = {"task": "regression", "target_names": columns.targets, "table": columns.to_dict()}
    artifact = export.export(model, "rents", formats="onnx", device="cpu", batch_sizes=(1, 2), **about).path
    lines = ["town,rent,size,age", "York,1,40.5,3", "Bath,2,31,old", '"York",3,-2,7']
    Path("homes.csv").write_text("\n".join(lines))
    Path("other.csv").write_text("town,age\nYork,3\n")
    export.predict_files(artifact, ["homes.csv", "other.csv"], "out.csv", on_bad_input="skip")
    rows = rows_of("out.csv")
    assert list(rows[0]) == ["file", "rent", "predicted_error", "error"]
    assert [row["file"] for row in rows] == ["homes.csv:2", "homes.csv:3", "homes.csv:4", "other.csv"]
    expected = outputs_of(artifact, np.float32([[3, 40.5, 1], [7, -2, 1]]))
    found = [[np.float32(row["rent"]), np.float32(row["predicted_error"])] for row in (rows[0], rows[2])]
    np.testing.assert_array_equal(found, expected)
    assert "'old' in row 3" in rows[1]["error"] and "none called size" in rows[3]["error"]
    assert rows[1]["rent"] == rows[3]["rent"] == ""
    write_folder("homes", {"homes.csv": "\n".join(lines).encode()})
    for _ in range(2):
        options = {"on_bad_input": "skip", "overwrite": True}
        assert export.predict_files(artifact, "homes", "homes/predictions.csv", **options).rows == 3
    Path("predictions.csv").write_text("\n".join(lines))
    for out in ({"out": "./homes.csv"}, {}):
        with pytest.raises(ValueError, match="Expected out to be a path that is not among the inputs"):
            export.predict_files(artifact, ["predictions.csv", "homes.csv"], **out, overwrite=True)
    assert Path("homes.csv").read_text() == Path("predictions.csv").read_text() == "\n".join(lines)


def test_rows_in_memory(tmp_path):
    columns = Columns((Column("age"), Column("built", "date"), Column("town", "category", ("Bath", "York"))), ("rent",))
    inputs = keras.Input((3,))
    options = {"formats": "onnx", "device": "cpu", "batch_sizes": (1, 2)}
    made = export.export(keras.Model(inputs, inputs * 2), tmp_path / "a", table=columns.to_dict(), **options)
    predictor = export.load(made.path)
    table = {
        "town": ["York", None, "Rome"],
        "built": ["1970-01-03", "1970-01-01", None],
        "age": [3, 2.5, None],
        "x": "abc",
    }
    frame = pandas.DataFrame({name: list(values) for name, values in table.items()}, index=[7, 8, 9])
    rows = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    expected = np.float32([[3, 2, 1], [2.5, 0, 2], [np.nan, np.nan, 2]])
    for given in (table, frame, rows, frame.assign(built=pandas.to_datetime(frame["built"]))):
        read = predictor.read_rows(given)
        assert read.dtype == "float32"
        np.testing.assert_array_equal(read, expected)
    np.testing.assert_array_equal(predictor.predict(predictor.read_rows(rows[:2])), expected[:2] * 2)
    wrong = {
        "Expected the columns age, built, town, .* Received: row 2 without built, town": [rows[0], {"age": 3}],
        "Expected the columns age, built, town. Received: none called built, town": {"age": [3]},
        "Expected a list of rows, .* Received: 3 for age": {"age": 3, "built": None, "town": "York"},
        "Expected a finite number.* in column 'age'. Received: 'old' in row 2": frame.assign(age=[1, "old", 2]),
        "Expected a date .* Received: 'soon' in row 1": [{**rows[0], "built": "soon"}],
    }
    for message, given in wrong.items():
        with pytest.raises(ValueError, match=message):
            predictor.read_rows(given)
    plain = export.export(mlp(), tmp_path / "b", **options)
    with pytest.raises(ValueError, match=r"Expected an artifact that records how rows are read.* takes only arrays"):
        export.load(plain.path).read_rows(rows)


@pytest.fixture
def segmenter(tmp_path, monkeypatch):
    """A network that gives a mask for each of three photos."""
    monkeypatch.chdir(tmp_path)
    write_folder("photos", {f"{index}.png": encode(images(1)[0]) for index in range(3)})
    about = {"key": "k", "task": "segmentation", "names": ["sky", "sea"], "input_name": "x", "shape": (8, 8, 3)}
    about |= {"reader": ImageReader((8, 8)), "columns": None, "channel_axis": -1, "batchable": True, "dtype": "uint8"}
    return SimpleNamespace(**about, run=lambda batch: batch[..., :2])


def test_a_table_that_does_not_fit_the_network_is_refused(tmp_path):
    three = [{"name": name, "kind": "number", "values": []} for name in "abc"]
    empty = {"name": "c", "kind": "category", "values": []}
    for inputs, said in (
        (three[:2], r"shape \(None, 2\), for a table of 2 columns. Received: float32 of shape \(None, 3\)"),
        ([*three[:2], empty], "with values if it is a category. Received: 'c'"),
    ):
        x = keras.Input((3,))
        with pytest.raises(ValueError, match=said):
            export.export(keras.Model(x, layers.Dense(2)(x)), tmp_path / "a", table={"inputs": inputs, "targets": []})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("batchable", [False, True])
def test_inputs_are_computed_one_by_one_where_answers_depend_on_the_batch(batchable, tmp_path):
    sizes = []

    def run(batch):
        sizes.append(len(batch))
        return batch

    about = {"key": "k", "task": "regression", "names": ["y"], "input_name": "x", "shape": (1,), "dtype": "float32"}
    about |= {"reader": None, "columns": None, "channel_axis": -1, "batchable": batchable, "run": run}
    np.save(tmp_path / "x.npy", np.zeros((34, 1), "float32"))
    export.predict_files(SimpleNamespace(**about), tmp_path / "x.npy", tmp_path / "out.csv")
    assert sizes == ([32, 2] if batchable else [1] * 34)


def test_of_equally_probable_classes_the_first_comes_first():
    network = SimpleNamespace(names=("a", "b", "c"), task="classification", channel_axis=-1)
    answer = make_answer(network, 3, None)
    assert answer(None, 0, np.float32([0.25, 0.5, 0.25])) == ["b", 0.5, "a", 0.25, "c", 0.25]


@pytest.mark.parametrize(
    ("scores", "answer"),
    [
        (np.uint8([9, 0, 200]), ["c", 200, "a", 9]),
        (np.int8([9, -128, 3]), ["a", 9, "c", 3]),
        (np.array([False, True, False]), ["b", 1, "a", 0]),
        (np.float32([np.nan, 0.5, np.nan]), ["b", 0.5, None, None]),
        (np.float32([0.5, np.inf, 0.25]), ["b", None, "a", 0.5]),
    ],
)
def test_classes_of_scores_of_any_type(scores, answer):
    network = SimpleNamespace(names=("a", "b", "c"), task="classification", channel_axis=-1)
    assert make_answer(network, 2, None)(None, 0, scores) == answer


@pytest.mark.parametrize(("shape", "task"), [((4, 1), "regression"), ((), "regression"), ((4,), "segmentation")])
def test_outputs_with_other_axes_than_the_task_needs_are_refused(shape, task, tmp_path):
    x = keras.Input((4,))
    model = keras.Model(x, layers.Reshape(shape)(layers.Dense(4 if shape else 1)(x)))
    said = f"Expected an output with .* axes for the task '{task}'. Received: output of shape"
    with pytest.raises(ValueError, match=said):
        export.export(model, tmp_path / "new", task=task, formats="onnx")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match=said):
        check_task(task, "output", (None, *shape))


@pytest.mark.parametrize("axis", [0, -1])
def test_one_channel_is_a_class_where_it_is_more_probable_than_not(axis):
    probabilities = np.float32([[0.0, 0.2, 0.5], [0.51, 0.9, 1.0]])
    np.testing.assert_array_equal(find_classes(np.expand_dims(probabilities, axis), axis), [[0, 0, 0], [1, 1, 1]])


def test_masks_are_files_of_class_indices(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inputs = keras.Input((None, None, 3))
    model = randomise(keras.Model(inputs, layers.Conv2D(3, 3, padding="same")(inputs)))
    made = {"preprocessing": export.Preprocessing("uint8"), "activation": "softmax", "labels": ["sky", "sea", "land"]}
    artifact = export.export(model, "masks", formats="onnx", device="cpu", batch_sizes=(1, 2), **made).path
    sizes = (8, 12, 8)
    contents = {f"{index}.png": encode(images(1, size, seed=index)[0]) for index, size in enumerate(sizes)}
    write_folder("photos", contents | {"3.png": b""})
    done = export.predict_files(artifact, "photos", on_bad_input="skip")
    rows = rows_of("predictions/predictions.csv")
    assert done.path == Path("predictions") and list(rows[0]) == ["file", "mask", "error"]
    assert [row["mask"] for row in rows] == ["00000000-0.png", "00000001-1.png", "00000002-2.png", ""]
    for index, (row, size) in enumerate(zip(rows[:3], sizes, strict=True)):
        with Image.open(Path("predictions", row["mask"])) as mask:
            assert mask.mode == "P" and len(set(map(tuple, np.reshape(mask.getpalette(), (-1, 3))))) == 256
            expected = outputs_of(artifact, images(1, size, seed=index)).argmax(-1)[0]
            np.testing.assert_array_equal(np.asarray(mask), expected)
    with pytest.raises(ValueError, match="Expected out to be a folder, for masks. Received: out='out.csv'"):
        export.predict_files(artifact, "photos", "out.csv")
    export.predict_files(artifact, "photos/0.png", overwrite=True)
    assert sorted(path.name for path in Path("predictions").iterdir()) == ["00000000-0.png", "predictions.csv"]


@pytest.mark.parametrize("inputs", ["photos", "photos/**/*.png", "link"])
def test_masks_among_the_inputs_are_not_read(inputs, segmenter):
    Path("link").symlink_to("photos")

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export.predict_files(segmenter, inputs, "photos/masks", batch_size=1, progress=stop)
    for flag in ("resume", "overwrite"):
        assert export.predict_files(segmenter, inputs, "photos/masks", batch_size=1, **{flag: True}).rows == 3
        assert len(list(Path("photos/masks").iterdir())) == 4
    for own in ("photos/masks", "photos/masks/00000000-0.png"):
        with pytest.raises(ValueError, match="not among the inputs. Received: out='photos/masks'"):
            export.predict_files(segmenter, ["photos", own], "photos/masks", overwrite=True)


TABLE_OF_MASKS = b"file,mask\n0.png,00000000-0.png\n"
OTHERS = {
    "another table": ({"predictions.csv": b"file,label\n0.png,sea\n"}, "a folder without a predictions.csv of masks"),
    "no table": ({"00000000-0.png": b""}, "a folder without a predictions.csv of masks"),
    "a document": ({"predictions.csv": TABLE_OF_MASKS, "thesis.docx": b"mine"}, "that also holds 'thesis.docx'"),
    "a folder": ({"predictions.csv": TABLE_OF_MASKS, "chapters/1.docx": b"mine"}, "that also holds 'chapters'"),
    "a photo": ({"predictions.csv": TABLE_OF_MASKS, "20240101-sea.png": b""}, "that also holds '20240101-sea.png'"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_folder_with_anything_but_masks_is_not_replaced(case, segmenter, tmp_path):
    contents, message = OTHERS[case]
    write_folder("work", contents)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FileExistsError, match=f"an earlier prediction to overwrite. Received: 'work', .*{message}"):
        export.predict_files(segmenter, "photos", "work", overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_is_not_replaced_by_masks(segmenter):
    Path("masks").write_text("mine")
    done = []
    with pytest.raises(FileExistsError, match="Expected a folder of masks to overwrite. Received: 'masks', a file"):
        export.predict_files(segmenter, "photos", "masks", overwrite=True, progress=lambda *_: done.append(1))
    assert not done and Path("masks").read_text() == "mine"


def test_a_link_to_masks_is_not_replaced(segmenter):
    export.predict_files(segmenter, "photos", "masks")
    Path("link").symlink_to("masks")
    with pytest.raises(FileExistsError, match="Received: 'link', a link to a folder"):
        export.predict_files(segmenter, "photos", "link", overwrite=True)


def test_a_file_that_joins_the_masks_meanwhile_is_kept(segmenter):
    write_folder("masks", {"predictions.csv": TABLE_OF_MASKS, "Thumbs.db": b""})

    def add(*_):
        Path("masks/thesis.docx").write_text("mine")

    with pytest.raises(FileExistsError, match="'thesis.docx'"):
        export.predict_files(segmenter, "photos", "masks", overwrite=True, progress=add)
    assert Path("masks/thesis.docx").read_text() == "mine"
    Path("masks/thesis.docx").unlink()
    assert export.predict_files(segmenter, "photos", "masks", overwrite=True, resume=True).rows == 3
    assert len(list(Path("masks").iterdir())) == 4
