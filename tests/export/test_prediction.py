"""Predictions for files of every kind against a bare session of onnxruntime, and Pillow to read the images."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import export
from export.prediction.computing import compute_here
from export.prediction.inputs import Input
from tests.export.models import RAW, conv_net, images
from tests.export.predictions import (
    LABELS,
    NAMES,
    as_tar,
    as_zip,
    check,
    encode,
    lines_of,
    outputs_of,
    rows_of,
    session_of,
    write_folder,
)

ROOT = str(Path(export.__file__).parents[1])


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = tmp_path_factory.mktemp("classifier") / "artifact"
    made = {"preprocessing": RAW, "labels": LABELS, "activation": "softmax", "formats": "onnx", "batch_sizes": (1, 2)}
    return export.export(conv_net(), path, device="cpu", **made).path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Six images in every form, in the order of `NAMES`."""
    monkeypatch.chdir(tmp_path)
    x = images(6)
    contents = dict(zip(NAMES, map(encode, x), strict=True))
    write_folder("photos", contents | {"a/notes.txt": b"no image", "a/.hidden.png": b"no image"})
    as_tar("photos.tar", contents, "w")
    as_tar("photos.tar.gz", contents, "w:gz")
    as_zip("photos.zip", contents)
    np.save("x.npy", x)
    np.save("columns.npy", np.asfortranarray(x))
    np.savez("x.npz", x)
    np.savez_compressed("named.npz", other=x[:2], input=x)
    return tmp_path


FORMS = {
    ("photos",): [f"photos/{name}" for name in NAMES],
    ("photos.tar",): [f"photos.tar/{name}" for name in NAMES],
    ("photos.tar.gz",): [f"photos.tar.gz/{name}" for name in NAMES],
    ("photos.zip",): [f"photos.zip/{name}" for name in NAMES],
    ("photos/**/*.png",): [f"photos/{name}" for name in NAMES],
    tuple(f"photos/{name}" for name in NAMES): [f"photos/{name}" for name in NAMES],
    ("x.npy",): [f"x.npy[{index}]" for index in range(6)],
    ("columns.npy",): [f"columns.npy[{index}]" for index in range(6)],
    ("x.npz",): [f"x.npz[{index}]" for index in range(6)],
    ("named.npz",): [f"named.npz[{index}]" for index in range(6)],
}


@pytest.mark.parametrize("inputs", FORMS, ids=lambda inputs: inputs[0])
def test_every_kind_of_input_gives_the_same_rows_in_order(inputs, classifier, folder):
    done = export.predict_files(classifier, inputs, "out.csv", batch_size=6)
    rows = rows_of("out.csv")
    assert list(rows[0]) == ["file", "label", "probability"]
    assert [row["file"] for row in rows] == FORMS[inputs]
    check(rows, outputs_of(classifier, images(6)))
    assert (done.path, done.rows, done.bad) == (Path("out.csv"), 6, 0)
    assert {path.name for path in folder.glob("out*")} == {"out.csv"}


def test_batches_are_as_large_as_asked_for(classifier, folder):
    session, x = session_of(classifier), images(6)
    export.predict_files(classifier, ["photos"], batch_size=4)
    parts = [session.run(None, {"input": part})[0] for part in (x[:4], x[4:])]
    check(rows_of("predictions.csv"), np.concatenate(parts))


def test_a_row_names_the_most_probable_classes(classifier, folder):
    export.predict_files(classifier, "x.npy", "out.csv", top=3, batch_size=6)
    probabilities = outputs_of(classifier, images(6))
    for row, p in zip(rows_of("out.csv"), probabilities, strict=True):
        order = np.argsort(p)[::-1]
        assert list(row)[1:] == ["label", "probability", "label2", "probability2", "label3", "probability3"]
        assert [row["label"], row["label2"], row["label3"]] == [LABELS[index] for index in order[:3]]
        found = [row["probability"], row["probability2"], row["probability3"]]
        np.testing.assert_array_equal(np.float32(found), p[order[:3]])


def test_images_of_another_size_are_stretched(classifier, folder):
    pixels = images(1, size=20)[0, :11]
    Path("wide.png").write_bytes(encode(pixels))
    export.predict_files(classifier, "wide.png", "out.csv")
    resized = np.asarray(Image.fromarray(pixels).resize((8, 8), Image.Resampling.BICUBIC))
    check(rows_of("out.csv"), outputs_of(classifier, resized[None]))


def test_formats_hold_the_same(classifier, folder):
    for suffix in ("csv", "jsonl", "json"):
        export.predict_files(classifier, "photos", f"out.{suffix}", batch_size=4)
    rows = [{**row, "probability": float(row["probability"])} for row in rows_of("out.csv")]
    assert json.loads(Path("out.json").read_text()) == rows
    assert lines_of("out.jsonl") == rows
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    export.predict_files(classifier, "photos", "out.parquet", batch_size=4)
    assert parquet.read_table("out.parquet").to_pylist() == rows
    assert {path.name for path in folder.glob("out*")} == {"out.csv", "out.jsonl", "out.json", "out.parquet"}


def test_parquet_without_pyarrow_is_a_sentence(classifier, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match="Expected pyarrow to be installed for Parquet"):
        export.predict_files(classifier, "photos", "out.parquet")


def test_names_of_every_kind(classifier, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = encode(images(1)[0])
    odd = [b'comma, and "quotes".png', b"line\nbreak\r.png", "caf\u00e9.png".encode(), b"caf\xe9.png"]
    write_folder("photos", dict.fromkeys(odd, data))
    for suffix in ("csv", "jsonl"):
        export.predict_files(classifier, ["photos", "photos"], f"out.{suffix}")
    once = ["caf\u00e9.png", r"caf\xe9.png", 'comma, and "quotes".png', "line\nbreak\r.png"]
    expected = sorted([f"photos/{name}" for name in once] * 2)
    for rows in (rows_of("out.csv"), lines_of("out.jsonl")):
        assert sorted(row["file"] for row in rows) == expected
        assert [row["file"] for row in rows[:4]] == [row["file"] for row in rows[4:]]


BAD = {"a/3.png": b"", "a/4.png": b"no image", "b/0.png": encode(images(1)[0])[:60]}


def test_bad_inputs_are_listed_with_their_reasons(classifier, folder):
    write_folder("photos", BAD)
    os.symlink("nowhere", "photos/c.png")
    np.save("wide.npy", images(2, size=9))
    np.save("floats.npy", images(1).astype("float32"))
    np.save("number.npy", np.float32(3))
    Path("none.npy").write_bytes(b"no array")
    Path("cut.npy").write_bytes(Path("x.npy").read_bytes()[:-100])
    others = ["wide.npy", "floats.npy", "number.npy", "none.npy", "cut.npy"]
    done = export.predict_files(classifier, ["photos", *others], "out.csv", on_bad_input="skip", batch_size=2)
    rows = {row["file"]: row for row in rows_of("out.csv")}
    assert len(rows) == done.rows == 6 + 4 + 2 + 1 + 1 + 1 + 6
    bad = {name: row["error"] for name, row in rows.items() if row["error"]}
    assert len(bad) == done.bad == 10 and len(done.named) == 10
    assert all(rows[name]["label"] == rows[name]["probability"] == "" for name in bad)
    reasons = {
        **{f"photos/{name}": "" for name in BAD},
        "photos/c.png": "No such file or directory",
        "wide.npy[0]": "Expected an input of shape (8, 8, 3). Received: shape (9, 9, 3)",
        "wide.npy[1]": "Expected an input of shape (8, 8, 3). Received: shape (9, 9, 3)",
        "floats.npy[0]": "Expected an input of dtype uint8. Received: dtype float32",
        "number.npy": "one number, not rows",
        "none.npy": "",
        "cut.npy[5]": "the file ends early",
    }
    assert bad.keys() == reasons.keys() and all(reasons[name] in bad[name] for name in bad)
    # Each of the others is in its batch alone or with its neighbour; that the bad ones are not there changes nothing.
    x = dict(zip(NAMES, images(6), strict=True))
    for name in NAMES:
        np.testing.assert_allclose(
            float(rows[f"photos/{name}"]["probability"]), outputs_of(classifier, x[name][None]).max(), rtol=1e-5
        )


def test_a_bad_input_is_an_error_and_leaves_nothing(classifier, folder):
    write_folder("photos", BAD)
    with pytest.raises(ValueError, match=r"on_bad_input='skip'.* Received: 'photos/a/3.png' \(empty file\)"):
        export.predict_files(classifier, "photos", "out.csv")
    assert not list(folder.glob("out*"))


def test_a_damaged_archive_is_an_error(classifier, folder):
    Path("cut.tar").write_bytes(Path("photos.tar").read_bytes()[:2000])
    with pytest.raises(ValueError, match="Expected a whole archive"):
        export.predict_files(classifier, "cut.tar", "out.csv", on_bad_input="skip")
    assert not list(folder.glob("out*"))


REFUSED = {
    "nowhere.png": ({"inputs": "nowhere.png"}, "Expected a file, a folder.* Received: 'nowhere.png'"),
    "pattern": ({"inputs": "photos/*.gif"}, "Received: 'photos/\\*.gif', which no file matches"),
    "none": ({"inputs": []}, "at least one input. Received: none"),
    "empty": ({"inputs": "empty"}, "files that end in one of .* Received: 'empty', a folder without any"),
    "empty tar": ({"inputs": "empty.tar"}, "at least one input. Received: archives"),
    "top": ({"top": 5}, "top to be from 1 to 4. Received: top=5"),
    "no top": ({"top": 0}, "top to be from 1 to 4. Received: top=0"),
    "batch": ({"batch_size": 0}, "at least 1. Received: batch_size=0"),
    "word": ({"on_bad_input": "ignore"}, "Received: on_bad_input='ignore'"),
    "suffix": ({"out": "out.xls"}, "end in one of .csv, .json, .jsonl, .parquet. Received: out='out.xls'"),
    "no suffix": ({"out": "outs"}, "end in one of .csv"),
    "exists": ({"out": "there.csv"}, "'there.csv' exists"),
    "a folder": ({"out": "empty", "overwrite": True}, "an earlier prediction to overwrite. Received: 'empty'"),
    "device": ({"device": "tpu"}, "device='tpu'"),
    "no artifact": ({"network": "photos"}, "Expected an artifact"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_a_sentence_and_changes_nothing(case, classifier, folder):
    Path("empty").mkdir()
    as_tar("empty.tar", {}, "w")
    Path("there.csv").write_text("mine")
    before = sorted(folder.rglob("*"))
    changes, message = REFUSED[case]
    with pytest.raises((ValueError, OSError), match=message):
        export.predict_files(**{"network": classifier, "inputs": "photos", "out": "out.csv"} | changes)
    assert sorted(folder.rglob("*")) == before and Path("there.csv").read_text() == "mine"


def test_an_output_is_replaced_only_if_asked_for(classifier, folder):
    Path("out.csv").write_text("old")
    export.predict_files(classifier, "photos", "out.csv", overwrite=True)
    assert len(rows_of("out.csv")) == 6


def test_images_become_inputs_whose_channels_come_first(folder):
    raw = export.Preprocessing("uint8", scale=1 / 255, channel_axis=1)
    made = {"layout": "nchw", "labels": LABELS, "activation": "softmax", "formats": "onnx", "batch_sizes": (1, 2)}
    artifact = export.export(conv_net(), "first", preprocessing=raw, device="cpu", **made).path
    x = np.ascontiguousarray(np.moveaxis(images(6), -1, 1))
    np.save("first.npy", x)
    for inputs in ("photos", "first.npy"):
        export.predict_files(artifact, inputs, "out.csv", batch_size=6, overwrite=True)
        check(rows_of("out.csv"), outputs_of(artifact, x))


def test_few_inputs_wait_at_a_time():
    """However many there are."""

    class Network:
        shape, dtype = (2,), "float32"

        def run(self, batch):
            return batch

    drawn = computed = most = 0

    def groups():
        nonlocal drawn
        for index in range(1000):
            drawn += 1
            yield [Input(str(index), np.float32([index, 0]))]

    for group, outputs in compute_here(Network())(groups()):
        assert group[0].name == str(computed) and outputs[0][0] == computed
        computed += 1
        most = max(most, drawn - computed)
    assert computed == 1000 and most <= 16


def test_it_needs_neither_keras_nor_the_zoo(classifier, folder):
    code = f"""
import sys
for name in ("keras", "tensorflow", "keras_skip", "tf2onnx", "onnx", "zoo", "pyarrow"):
    sys.modules[name] = None
sys.path.insert(0, {ROOT!r})
import export
print(export.predict_files({str(classifier)!r}, "photos").rows)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=folder)
    assert (done.stdout, done.stderr) == ("6\n", "")
