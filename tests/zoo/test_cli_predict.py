"""`keras-skip predict` with a run, whose network computes in Keras, and with an artifact."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import export
import zoo
from tests.processes import keras_skip
from tests.zoo.small_runs import OPTIONS


@pytest.fixture(scope="module")
def source(small_source):
    """Digits as images have them: up to 255 instead of 16, and from before a run said how images are read."""
    parts = {name: getattr(small_source, name) * 15 for name in ("train_inputs", "test_inputs")}
    return replace(small_source, **parts, preprocessing=zoo.Preprocessing.fitted(parts["train_inputs"], 1 / 255))


@pytest.fixture(scope="module")
def run(source, tmp_path_factory):
    return zoo.train("plain_mlp_digits", source, tmp_path_factory.mktemp("runs") / "plain", **OPTIONS)


@pytest.fixture
def folder(source, tmp_path, monkeypatch):
    """Fifty digits as files, the first of them larger than the network takes."""
    monkeypatch.chdir(tmp_path)
    Path("digits").mkdir()
    for number, pixels in enumerate(source.test_inputs[..., 0]):
        image = Image.fromarray(pixels)
        (image if number else image.resize((24, 16))).save(f"digits/{number:02}.png")
    return tmp_path


def probabilities(run, pixels):
    """Those of the network that is in the folder of a run, as NumPy computes them from its logits."""
    about = run.source["preprocessing"]
    x = (about["scale"] * pixels.astype("float32") - np.float32(about["mean"])) / np.float32(about["std"])
    logits = np.asarray(keras.models.load_model(run.model_path)(x), "float64")
    return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_predicts_what_its_network_computes(run, source, folder):
    done = keras_skip("predict", run.path, "digits", "--top", 2, "--batch-size", 20, cwd=folder)
    assert "inputs   50\n" in done.stdout and "predictions.csv" in done.stdout and done.stderr == ""
    rows = rows_of("predictions.csv")
    assert [row["file"] for row in rows] == [f"digits/{number:02}.png" for number in range(50)]
    first = Image.open("digits/00.png").resize((8, 8), Image.Resampling.BICUBIC)
    expected = probabilities(run, np.stack([np.asarray(first)[..., None], *source.test_inputs[1:]]))
    order = np.argsort(-expected, axis=-1)
    for row, p, best in zip(rows, expected, order, strict=True):
        assert [row["label"], row["label2"]] == [source.class_names[index] for index in best[:2]]
        found = [float(row["probability"]), float(row["probability2"])]
        np.testing.assert_allclose(found, p[best[:2]], atol=1e-5)


def test_the_artifact_of_a_run_predicts_the_same(run, source, folder, keras_skip_here):
    preprocessing = export.Preprocessing("uint8", **run.source["preprocessing"])
    made = {"activation": "softmax", "labels": source.class_names, "formats": "onnx", "batch_sizes": (1, 2)}
    export.export(zoo.load(run.path), "artifact", preprocessing=preprocessing, device="cpu", **made)
    for subject, out in ((run.path, "run.csv"), ("artifact", "artifact.csv")):
        keras_skip_here("predict", subject, "digits", "--out", out, cwd=folder)
    rows, others = rows_of("run.csv"), rows_of("artifact.csv")
    assert [(row["file"], row["label"]) for row in rows] == [(row["file"], row["label"]) for row in others]
    pairs = np.array(
        [(row["probability"], other["probability"]) for row, other in zip(rows, others, strict=True)], float
    )
    np.testing.assert_allclose(*pairs.T, atol=1e-5)


def test_bad_inputs_are_told_at_the_end(run, folder, keras_skip_here):
    for number in range(50, 62):
        Path(f"digits/{number}.png").write_bytes(b"no image")
    done = keras_skip_here("predict", run.path, "digits", "--out", "a.csv", cwd=folder, expect=1)
    assert "or --on-bad-input skip" in done.stderr and "'digits/50.png'" in done.stderr
    command = ("predict", run.path, "digits", "--out", "a.csv", "--on-bad-input", "skip")
    done = keras_skip_here(*command, cwd=folder, expect=1)
    assert "Continue with --resume, or begin again with --overwrite" in done.stderr
    assert "other settings" in keras_skip_here(*command, "--resume", cwd=folder, expect=1).stderr
    done = keras_skip_here(*command, "--overwrite", cwd=folder)
    assert "bad inputs  12\n" in done.stdout and "digits/50.png (not an image" in done.stdout
    assert "and 2 more" in done.stdout and "digits/61.png" not in done.stdout
    assert [row["error"] != "" for row in rows_of("a.csv")] == [False] * 50 + [True] * 12
    assert {path.name for path in folder.glob("a.csv*")} == {"a.csv"}


def test_a_run_whose_data_are_gone_still_predicts(run, folder, tmp_path, keras_skip_here):
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "model.keras").write_bytes(run.model_path.read_bytes())
    record = json.loads((run.path / "run.json").read_text())
    record["source"]["name"] = str(tmp_path / "gone")
    (moved / "run.json").write_text(json.dumps(record))
    keras_skip_here("predict", "moved", "digits/*3.png", "--out", "a.jsonl", cwd=folder)
    files = [json.loads(line)["file"] for line in Path("a.jsonl").read_text().splitlines()]
    assert files == [f"digits/{number}3.png" for number in range(5)]


def test_a_run_on_a_table_predicts_its_target(no_report, tmp_path, monkeypatch, keras_skip_here):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(60, 2)).astype("float32")
    lines = [f"{a},{b},{a - 2 * b}" for a, b in numbers]
    Path("homes.csv").write_text("\n".join(["age,size,rent", *lines]))
    source = zoo.load_source("homes.csv", target="rent")
    table_run = zoo.train("tabular_resnet_diabetes", source, "run", epochs=1)
    keras_skip_here("predict", "run", "homes.csv", "--out", "rents.csv", cwd=tmp_path)
    rows = rows_of("rents.csv")
    assert [row["file"] for row in rows] == [f"homes.csv:{line}" for line in range(2, 62)]
    expected = np.asarray(keras.models.load_model(table_run.model_path)(numbers))[:, 0]
    np.testing.assert_allclose([float(row["rent"]) for row in rows], expected, rtol=1e-4, atol=1e-5)
