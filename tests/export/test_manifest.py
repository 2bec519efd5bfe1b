"""artifact.json as others may have edited it, its hash renewed: it is refused in one sentence, or everything works."""

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest

import export
from export.storage.manifest import read_manifest, write_manifest
from tests.export.small_artifact import TENSOR, edit, seal

ONE_SENTENCE = (export.VerificationError, export.ParityError, export.ExportError)
VALUES = (7, -1, 1.5, True, None, "", "text", "float32", "softmax", [], [7], ["text"], {}, {"text": 7}, 10**30)


def places(content, path=()):
    """The way to every value, those that hold others included."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def edits(manifest):
    """Every manifest that differs in one place, where something is missing or is something else."""
    for path in places({key: value for key, value in manifest.items() if key != "sha256"}):
        for value in ("missing", *VALUES):
            edited = copy.deepcopy(manifest)
            holder = edited
            for key in path[:-1]:
                holder = holder[key]
            if value == "missing":
                del holder[path[-1]]
            elif type(holder[path[-1]]) is type(value) and holder[path[-1]] == value:
                continue
            else:
                holder[path[-1]] = value
            yield path, value, edited


def use(folder: Path, x) -> None:
    """Everything that reads a manifest."""
    predictor = export.load(folder)
    predictor(x)
    if predictor.metadata["activation"] == "softmax":
        predictor.classify(x)
    export.deploy(folder, folder.parent / "models", target="triton", overwrite=True, name="m")
    export.verify(folder, device="cpu")


@pytest.mark.usefixtures("in_this_process")
def test_every_edit_in_one_place_is_refused_in_a_sentence_or_works(here):
    manifest = read_manifest(here)
    x = np.zeros((2, 3, 4, 3), "uint8")
    unclear, refused, accepted = [], 0, set()
    for path, value, edited in edits(manifest):
        seal(here, edited)
        try:
            read_manifest(here)
            use(here, x)
            if path[0] not in ("name", "versions", "backend", "engine"):
                accepted.add((path, value))
        except ONE_SENTENCE as error:
            refused += 1
            if not str(error).startswith("Expected ") or "\n" in str(error):
                unclear.append((path, value, str(error)))
        except Exception as error:
            unclear.append((path, value, repr(error)))
    assert unclear == []
    assert refused > 500
    # What an artifact from before need not have, and a size that the model knows and its maker need not.
    later = (
        "task",
        "target_names",
        "table",
        "image",
        "operations",
        "weights_sha256",
        "opset",
        "ir_version",
        "producer",
        "precision",
        "batchable",
    )
    assert accepted == {*(((name,), "missing") for name in later), (("outputs", 0, "shape", 1), None)}


@pytest.mark.parametrize(
    "content", ["7", "[]", '"text"', "null", '{"format": 1}', "[" * 900 + "]" * 900, "\xff", "1" * 9999]
)
def test_what_is_no_manifest_is_refused(content, here):
    (here / "artifact.json").write_text(content, encoding="latin-1")
    with pytest.raises(export.VerificationError, match="artifact.json"):
        read_manifest(here)


def test_names_that_are_not_known_are_left_alone(here):
    edit(here, lambda m: m.update(later={"x": [1]}, batchable=False))
    assert read_manifest(here)["later"] == {"x": [1]}


def test_what_came_later_may_be_missing(here):
    for name in ("layout", "precision", "versions", "operations", "weights_sha256", "opset", "ir_version", "producer"):
        edit(here, lambda m, name=name: m.pop(name))
    assert export.load(here).labels == ["a", "b"]


CONTRADICTIONS = {
    "two inputs of one name": lambda m: m.update(inputs=m["inputs"] * 2, preprocessing=None),
    "two outputs of one name": lambda m: m.update(outputs=m["outputs"] * 2, activation=None, labels=None),
    "a format without its files": lambda m: m.update(formats=["onnx", "saved_model"]),
    "files without their format": lambda m: m.update(formats=["saved_model"]),
    "too few labels": lambda m: m.update(labels=["a"]),
    "too few names of targets": lambda m: m.update(labels=None, target_names=["a"]),
    "labels of two outputs": lambda m: m.update(outputs=[*m["outputs"], TENSOR], activation=None),
    "an activation of two outputs": lambda m: m.update(outputs=[*m["outputs"], TENSOR], labels=None),
    "an activation under another name": lambda m: m["outputs"][0].update(name="other"),
    "gates without an output": lambda m: m.update(gates={"output": "carry", "layers": ["a"]}),
    "gates of too many layers": lambda m: m.update(
        outputs=[*m["outputs"], TENSOR], gates={"output": "more", "layers": ["a"]}
    ),
    "a target for batches of seven": lambda m: m.update(targets={"ort": {"runtime": "onnxruntime", "batch": 7}}),
    "no layout of images": lambda m: m.update(layout=None),
    "raw data of another type": lambda m: m["preprocessing"].update(dtype="int8"),
    "preprocessing of two inputs": lambda m: m["inputs"].append(dict(TENSOR, dtype="uint8")),
    "a mean of too many channels": lambda m: m["preprocessing"].update(mean=[0.1] * 4),
    "a mean along no axis": lambda m: m["preprocessing"].update(channel_axis=7),
}


@pytest.mark.parametrize("change", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_manifest_that_contradicts_itself_is_refused(change, here):
    with pytest.raises(export.VerificationError, match="to be an artifact's manifest. Received: "):
        read_manifest(edit(here, change))


def test_a_manifest_that_could_not_be_read_again_is_not_written(here):
    with pytest.raises(export.VerificationError, match="no labels"):
        write_manifest(here, {"name": "x"})
    assert onnx.load(here / "model.onnx").graph.name == "small"
