"""From files to a served network by commands alone, for each task: train, evaluate, export, verify, predict and serve.

The commands for the table, and the predictions of masks, run in processes of their own, which share only files; the
others run here.
Digits become data of each task. What `predict` writes is scored by scikit-learn, and has to give the figure of the run.
"""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_wine
from sklearn.metrics import accuracy_score, jaccard_score, r2_score

import export
from tests.export.server import Server, output, serving
from tests.processes import keras_skip

pytest.importorskip("starlette", reason="the extra serve is not installed")

PARTS = {"train": slice(0, 120), "test": slice(120, 160)}
DATATYPES = {"uint8": "UINT8", "float32": "FP32"}


@dataclass(frozen=True)
class Case:
    """Data of a task, and what to do with them.

    Attributes:
        write: Writes the data into a folder, and returns what `predict` is asked about with the truth.
        train: The arguments of `keras-skip train`.
        figure: What the run measures on the test part.
        score: Computes it of the truth and of what `predict` wrote.
    """

    write: Callable[[Path], tuple[str, Any]]
    train: tuple[str, ...]
    figure: str
    score: Callable[[Any, Path], float]


def digit_images(count: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """Digits 0 to 2 of 16 x 16 pixels, from 0 to 255, in turns."""
    bunch = load_digits(n_class=3)
    order = np.argsort(np.arange(len(bunch.target)) % 53, kind="stable")[:count]
    pixels = (bunch.images[order] * 15.9).astype("uint8")
    return pixels.repeat(2, axis=1).repeat(2, axis=2), bunch.target[order]


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_photos(folder: Path) -> tuple[str, Any]:
    images, labels = digit_images()
    for part, chosen in PARTS.items():
        for number, (pixels, label) in enumerate(zip(images[chosen], labels[chosen], strict=True)):
            save(folder / "photos" / part / ("zero", "one", "two")[label] / f"{number:03}.png", pixels)
    return "photos/test", None


def score_photos(truth: None, path: Path) -> float:
    rows = rows_of(path)
    return accuracy_score([Path(row["file"]).parent.name for row in rows], [row["label"] for row in rows])


def write_numbers(folder: Path) -> tuple[str, Any]:
    images, _ = digit_images()
    ink = images.mean(axis=(1, 2)) / 10 + 50
    lines = ["file,ink,part"]
    for part, chosen in PARTS.items():
        for number, (pixels, value) in enumerate(zip(images[chosen], ink[chosen], strict=True)):
            save(folder / part / f"{number:03}.png", pixels)
            lines.append(f"{part}/{number:03}.png,{value},{part}")
    (folder / "ink.csv").write_text("\n".join(lines) + "\n")
    return "test", ink[PARTS["test"]]


def score_numbers(truth: np.ndarray, path: Path) -> float:
    return r2_score(truth, [float(row["ink"]) for row in rows_of(path)])


def write_masks(folder: Path) -> tuple[str, Any]:
    images, _ = digit_images()
    masks = (images > 100).astype("uint8")
    for part, chosen in PARTS.items():
        for number, (pixels, mask) in enumerate(zip(images[chosen], masks[chosen], strict=True)):
            save(folder / "shapes" / part / "images" / f"{number:03}.png", pixels)
            save(folder / "shapes" / part / "masks" / f"{number:03}.png", mask)
    return "shapes/test/images", masks[PARTS["test"]]


def score_masks(truth: np.ndarray, path: Path) -> float:
    found = np.stack([np.asarray(Image.open(path / row["mask"])) for row in rows_of(path / "predictions.csv")])
    return jaccard_score(truth.ravel(), found.ravel(), average="macro")


def write_table(folder: Path) -> tuple[str, Any]:
    bunch = load_wine()
    names = ["barolo", "grignolino", "barbera"]
    titles = [*(name.replace("/", " ") for name in bunch.feature_names), "strong", "cultivar"]
    test = np.arange(len(bunch.target)) % 4 == 0
    for file, chosen in (("bottles/train.csv", ~test), ("bottles/test.csv", test), ("new.csv", test)):
        (folder / file).parent.mkdir(exist_ok=True)
        with (folder / file).open("w", newline="") as out:
            writer = csv.writer(out)
            wanted = titles[:-1] if file == "new.csv" else titles
            writer.writerow(wanted)
            for row, label in zip(bunch.data[chosen], bunch.target[chosen], strict=True):
                strong = "yes" if row[0] > 13 else "no"
                writer.writerow([*row, strong, names[label]][: len(wanted)])
    return "new.csv", [names[label] for label in bunch.target[test]]


def score_table(truth: list[str], path: Path) -> float:
    return accuracy_score(truth, [row["label"] for row in rows_of(path)])


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


CASES = {
    "classification": Case(write_photos, ("plain_mlp", "--data", "photos"), "accuracy", score_photos),
    "regression": Case(
        write_numbers,
        ("plain_mlp", "--data", "ink.csv", "--target", "ink", "--split-column", "part"),
        "r2",
        score_numbers,
    ),
    "segmentation": Case(
        write_masks,
        ("unet_digits_masks", "--data", "shapes", "--set", "arguments.backbone_arguments={'depth': 8}"),
        "mean_iou",
        score_masks,
    ),
    "table": Case(
        write_table, ("tabular_resnet", "--data", "bottles", "--target", "cultivar"), "accuracy", score_table
    ),
}
EPOCHS = {"segmentation": 2}


@pytest.mark.parametrize("name", CASES)
def test_commands_alone_lead_from_files_to_a_server(name, tmp_path, monkeypatch, keras_skip_here):
    monkeypatch.setenv("KERAS_SKIP_CACHE", str(tmp_path / "cache"))
    case, command = CASES[name], partial(keras_skip if name == "table" else keras_skip_here, cwd=tmp_path)
    predict = partial(command if name != "segmentation" else keras_skip, "predict", cwd=tmp_path)
    asked, truth = case.write(tmp_path)
    command("train", *case.train, "--epochs", EPOCHS.get(name, 8), "--out", "run")
    results = json.loads((tmp_path / "run" / "run.json").read_text())["results"]
    measured = results[f"test_{case.figure}"]
    shown = command("evaluate", "run").stdout
    assert (f"{measured:.2%}" if case.figure != "r2" else f"{measured:.4g}") in shown
    command("export", "run", "--format", "onnx")
    command("verify", "run/export")
    for subject, out in (("run", "by-keras"), ("run/export", "by-onnxruntime")):
        out += "" if name == "segmentation" else ".csv"
        predict(subject, asked, "--out", out)
        assert case.score(truth, tmp_path / out) == pytest.approx(measured, abs=1e-4)
    with serving(tmp_path / "log", f"own={tmp_path / 'run' / 'export'}") as server:
        check_server(server, tmp_path / "run" / "export")
        if name == "table":
            check_rows(server, rows_of(tmp_path / "new.csv")[:9], rows_of(tmp_path / "by-onnxruntime.csv")[:9])


def check_server(server: Server, artifact: Path) -> None:
    """Compares the answers of a server with those of the artifact in this process."""
    recorded = np.load(artifact / "samples.npz")
    about = json.loads((artifact / "artifact.json").read_text())
    (taken,) = about["inputs"]
    predictor = export.load(artifact)
    samples = [recorded[key] for key in recorded.files if recorded[key].dtype == taken["dtype"]]
    batch = next(x for x in samples if list(x.shape[1:]) == taken["shape"][1:])
    tensor = {"name": taken["name"], "shape": list(batch.shape), "datatype": DATATYPES[taken["dtype"]]}
    status, answer = server.infer({"inputs": [tensor | {"data": batch.ravel().tolist()}]}, "own")
    assert status == 200
    np.testing.assert_allclose(output(answer), predictor(batch), atol=1e-6)


def check_rows(server: Server, rows: list[dict[str, str]], predicted: list[dict[str, str]]) -> None:
    """Sends the rows of a file as they are, and compares the answers with what `predict` wrote."""
    body = json.dumps({"rows": rows}).encode()
    status, _, answer = server.request(
        "POST", "/v2/models/own/predict?top=1", body, {"Content-Type": "application/json"}
    )
    assert status == 200
    found = [row["classes"][0] for row in json.loads(answer)["rows"]]
    assert [row["label"] for row in found] == [row["label"] for row in predicted]
    expected = [float(row["probability"]) for row in predicted]
    np.testing.assert_allclose([row["probability"] for row in found], expected, atol=1e-6)
