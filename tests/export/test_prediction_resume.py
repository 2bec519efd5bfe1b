"""Predictions that are stopped at any moment and resumed: the file is that of a prediction that was not."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

import export
from tests.export.models import RAW, conv_net, images, randomise

ROOT = str(Path(export.__file__).parents[1])
ROWS, BATCH = 300, 8
# Slow, so that it can be killed in the middle.
SCRIPT = f"""
import sys, time
sys.path.insert(0, {ROOT!r})
import export
artifact, out, *flags = sys.argv[1:]
export.predict_files(
    artifact, ["photos", "x.npy"], out, on_bad_input="skip", batch_size={BATCH},
    resume="resume" in flags, progress=lambda *_: time.sleep(0.01),
)
"""


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    made = {"preprocessing": RAW, "labels": list("abcd"), "activation": "softmax", "formats": "onnx"}
    path = tmp_path_factory.mktemp("classifier") / "artifact"
    return export.export(conv_net(), path, device="cpu", batch_sizes=(1, 2), **made).path


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    inputs = keras.Input((8, 8, 3))
    model = randomise(keras.Model(inputs, layers.Conv2D(3, 3, padding="same")(inputs)))
    made = {"preprocessing": RAW, "labels": list("abc"), "activation": "softmax", "formats": "onnx"}
    path = tmp_path_factory.mktemp("segmenter") / "artifact"
    return export.export(model, path, device="cpu", batch_sizes=(1, 2), **made).path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Files, three of which are bad, and an array."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for number, pixels in enumerate(images(20)):
        Image.fromarray(pixels).save(f"photos/{number:02}, with a comma.png")
    for number in ("03", "17", "99"):
        Path(f"photos/{number}, with a comma.png").write_bytes(b"no image")
    np.save("x.npy", images(ROWS - 21, seed=1))
    return tmp_path


def start(artifact, out, *flags):
    command = [sys.executable, "-c", SCRIPT, str(artifact), out, *flags]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def rows_done(out):
    with suppress(FileNotFoundError, IndexError, KeyError):
        return json.loads(Path(f"{out}.part.jsonl").read_text().split("\n")[-2])["rows"]
    return 0


def content(out):
    """The bytes of a file, or of each file of a folder."""
    return (
        Path(out).read_bytes()
        if Path(out).is_file()
        else {each.name: each.read_bytes() for each in Path(out).iterdir()}
    )


def test_a_process_that_is_killed_again_and_again_loses_and_doubles_no_row(classifier, folder):
    export.predict_files(classifier, ["photos", "x.npy"], "whole.csv", on_bad_input="skip", batch_size=BATCH)
    done, kills = 0, 0
    while not Path("out.csv").exists():
        with start(classifier, "out.csv", "resume") as process:
            # Once in the first moments, and then in the middle of a row wherever that is.
            while process.poll() is None and kills and rows_done("out.csv") < done + 90:
                time.sleep(0.001)
            time.sleep(0.003 * kills)
            process.kill()
        assert rows_done("out.csv") >= done or Path("out.csv").exists()
        done, kills = rows_done("out.csv"), kills + 1
        assert kills < 20
    assert kills > 2
    assert content("out.csv") == content("whole.csv")
    assert not list(folder.glob("out.csv.*"))


@pytest.mark.parametrize("out", ["out.csv", "out.json", "out.jsonl", "out.parquet", "masks"])
def test_what_is_cut_off_in_a_row_is_written_again(out, classifier, segmenter, folder):
    if out.endswith("parquet") and find_spec("pyarrow") is None:
        pytest.skip("pyarrow is not installed")
    artifact = segmenter if out == "masks" else classifier
    options = {"on_bad_input": "skip", "batch_size": BATCH}
    inputs = ["photos", "x.npy"]
    export.predict_files(artifact, inputs, f"whole-{out}", **options)

    def stop(rows, read, total):
        if rows == 5 * BATCH:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export.predict_files(artifact, inputs, out, progress=stop, **options)
    with open("masks.part/predictions.csv" if out == "masks" else f"{out}.part", "ab") as file:
        file.write(b'"x.npy[77]",a,0.2\n"half a ro')
    seen = []
    done = export.predict_files(artifact, inputs, out, resume=True, progress=lambda *now: seen.append(now), **options)
    assert seen[0][0] == 6 * BATCH and seen[-1][0] == ROWS and seen[-1][1] == pytest.approx(seen[-1][2])
    assert done.rows == ROWS and done.bad == len(done.named) == 3
    assert content(out) == content(f"whole-{out}")
    assert not list(folder.glob(f"{out}.*"))


@pytest.fixture
def begun(classifier, folder):
    """An output with a few rows."""

    def stop(rows, read, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export.predict_files(classifier, ["photos", "x.npy"], "out.csv", batch_size=3, progress=stop)
    return classifier


def test_an_output_that_was_begun_is_neither_lost_nor_resumed_unasked(begun, folder):
    before = Path("out.csv.part").read_bytes()
    with pytest.raises(
        FileExistsError, match="'out.csv.part' exists.* resume=True, or begin again with overwrite=True"
    ):
        export.predict_files(begun, "x.npy", "out.csv")
    assert Path("out.csv.part").read_bytes() == before
    assert export.predict_files(begun, "x.npy", "out.csv", overwrite=True).rows == ROWS - 21
    assert not list(folder.glob("out.csv.*"))


@pytest.mark.parametrize("flag", ["resume", "overwrite"])
def test_what_no_prediction_began_is_neither_resumed_nor_replaced(flag, segmenter, classifier, folder):
    """Browsers, for instance, call unfinished downloads NAME.part."""
    Path("out.csv.part").write_text("mine")
    Path("masks.part").mkdir()
    Path("masks.part/00000000-sea.png").write_text("mine")
    for artifact, out in ((classifier, "out.csv"), (segmenter, "masks")):
        with pytest.raises(FileExistsError, match=f"'{out}.part' is in the way.* Move it away"):
            export.predict_files(artifact, "x.npy", out, **{flag: True})
    assert Path("out.csv.part").read_text() == Path("masks.part/00000000-sea.png").read_text() == "mine"


OTHERS = {
    "inputs": ({"inputs": "x.npy"}, "other inputs"),
    "order": ({"inputs": ["x.npy", "photos"]}, "other inputs"),
    "changed": ({}, "other inputs"),
    "network": ({}, "another network"),
    "batch": ({"batch_size": 4}, "other settings"),
    "top": ({"top": 2}, "other settings"),
    "skip": ({"on_bad_input": "skip"}, "other settings"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_inputs_or_networks_do_not_go_on(case, begun, folder, tmp_path_factory):
    changes, message = OTHERS[case]
    if case == "changed":
        os.utime("x.npy", (1, 1))
    if case == "network":
        made = {"preprocessing": RAW, "labels": list("abcd"), "activation": "softmax", "formats": "onnx"}
        path = tmp_path_factory.mktemp("other") / "artifact"
        other = export.export(conv_net(), path, device="cpu", batch_sizes=(1, 3), **made).path
        changes = {"network": other}
    options = {"network": begun, "inputs": ["photos", "x.npy"], "out": "out.csv", "batch_size": 3} | changes
    before = content(folder / "out.csv.part"), content(folder / "out.csv.part.jsonl")
    with pytest.raises(ValueError, match=f"to resume it. Received: {message}"):
        export.predict_files(**options, resume=True)
    assert (content(folder / "out.csv.part"), content(folder / "out.csv.part.jsonl")) == before


def test_a_record_that_was_changed_does_not_go_on(begun, folder):
    Path("out.csv.part.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="out.csv.part.jsonl as it was left"):
        export.predict_files(begun, ["photos", "x.npy"], "out.csv", batch_size=3, resume=True)


def test_rows_that_are_lost_are_written_again(classifier, folder):
    """As after a loss of power; whichever byte of the record or of the rows is the last."""
    inputs, options = ["photos", "x.npy"], {"batch_size": 100, "on_bad_input": "skip"}
    export.predict_files(classifier, inputs, "whole.csv", **options)

    def stop(rows, read, total):
        if rows == 200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export.predict_files(classifier, inputs, "out.csv", progress=stop, **options)
    kept = {path: path.read_bytes() for path in (Path("out.csv.part"), Path("out.csv.part.jsonl"))}
    for lost, whole in kept.items():
        for length in [*range(0, len(whole), len(whole) // 7), len(whole) - 1]:
            for path, data in kept.items():
                path.write_bytes(data[:length] if path == lost else data)
            export.predict_files(classifier, inputs, "out.csv", resume=True, **options)
            assert content("out.csv") == content("whole.csv")
            Path("out.csv").unlink()


def test_two_processes_do_not_write_one_file(classifier, folder):
    with start(classifier, "out.csv") as process:
        try:
            while not rows_done("out.csv"):
                assert process.poll() is None
                time.sleep(0.001)
            for flag in ("resume", "overwrite"):
                with pytest.raises(ValueError, match="that no other process writes. Received: .*out.csv.part"):
                    export.predict_files(
                        classifier,
                        ["photos", "x.npy"],
                        "out.csv",
                        on_bad_input="skip",
                        batch_size=BATCH,
                        **{flag: True},
                    )
            assert process.wait(60) == 0
        finally:
            process.kill()
    with Path("out.csv").open() as file:
        assert len(file.readlines()) == 1 + ROWS
