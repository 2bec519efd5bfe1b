"""artifact.json as others may have edited it, its hash renewed: it is refused in one sentence, or everything works."""

import copy
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
from keras import layers

import export
from export import verification
from export.runtime.processes import PLAIN
from export.runtime.sessions import open_session, run_session
from export.storage.agreement import check_batch
from export.storage.manifest import _hash_content, read_manifest, write_manifest

RAW = export.Preprocessing("uint8", scale=1 / 255, mean=(0.1, 0.2, 0.3), std=0.5)
ONE_SENTENCE = (export.VerificationError, export.ParityError, export.ExportError)
VALUES = (7, -1, 1.5, True, None, "", "text", "float32", "softmax", [], [7], ["text"], {}, {"text": 7}, 10**30)


def small(path: Path, **options) -> Path:
    inputs = keras.Input((3, 4, 3), name="x")
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(inputs)), name="small")
    given = {"preprocessing": RAW, "activation": "softmax", "labels": ["a", "b"], "batch_sizes": (1, 2), **options}
    return export.export(model, path, device="cpu", **given).path


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return small(tmp_path_factory.mktemp("small") / "artifact", formats="onnx")


@pytest.fixture
def both(tmp_path) -> Path:
    return small(tmp_path / "both")


@pytest.fixture
def here(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "here"))


@pytest.fixture
def in_this_process(monkeypatch):
    """Verifies without a process of its own."""

    def run(file, batches, device):
        session = open_session(file)
        return {PLAIN.name: {name: run_session(session, batch) for name, batch in batches.items()}}, {}

    monkeypatch.setattr(verification, "run_everywhere", run)


def seal(folder: Path, manifest: dict) -> Path:
    manifest["sha256"] = _hash_content(manifest)
    (folder / "artifact.json").write_text(json.dumps(manifest))
    return folder


def edit(folder: Path, change) -> Path:
    manifest = json.loads((folder / "artifact.json").read_text())
    change(manifest)
    return seal(folder, manifest)


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
            if path[0] not in ("name", "versions"):
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
    later = ("operations", "weights_sha256", "opset", "ir_version", "producer", "precision", "batchable")
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


TENSOR = {"name": "more", "shape": [None, 2], "dtype": "float32"}
CONTRADICTIONS = {
    "two inputs of one name": lambda m: m.update(inputs=m["inputs"] * 2, preprocessing=None),
    "two outputs of one name": lambda m: m.update(outputs=m["outputs"] * 2, activation=None, labels=None),
    "a format without its files": lambda m: m.update(formats=["onnx", "saved_model"]),
    "files without their format": lambda m: m.update(formats=["saved_model"]),
    "too few labels": lambda m: m.update(labels=["a"]),
    "labels of two outputs": lambda m: m.update(outputs=[*m["outputs"], TENSOR], activation=None),
    "an activation of two outputs": lambda m: m.update(outputs=[*m["outputs"], TENSOR], labels=None),
    "an activation under another name": lambda m: m["outputs"][0].update(name="other"),
    "gates without an output": lambda m: m.update(gates={"output": "carry", "layers": ["a"]}),
    "gates of too many layers": lambda m: m.update(
        outputs=[*m["outputs"], TENSOR], gates={"output": "more", "layers": ["a"]}
    ),
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


LIES = {
    "input name": lambda m: m["inputs"][0].update(name="other"),
    "input shape": lambda m: m["inputs"][0].update(shape=[None, None, 4, 3]),
    "input size": lambda m: m["inputs"][0].update(shape=[None, 3, 5, 3]),
    "input dtype": lambda m: (m["inputs"][0].update(dtype="int8"), m["preprocessing"].update(dtype="int8")),
    "output shape": lambda m: (m["outputs"][0].update(shape=[None, 3]), m.update(labels=["a", "b", "c"])),
    "output rank": lambda m: m["outputs"][0].update(shape=[None, 1, 2]),
    "output dtype": lambda m: m["outputs"][0].update(dtype="float64"),
    "number of outputs": lambda m: m.update(outputs=[*m["outputs"], TENSOR], labels=None, activation=None),
    "labels": lambda m: m.update(labels=["b", "a"]),
    "no labels": lambda m: m.update(labels=None),
    "preprocessing": lambda m: m["preprocessing"].update(scale=1.0),
    "no preprocessing": lambda m: m.update(preprocessing=None),
    "activation": lambda m: m.update(activation="sigmoid"),
    "no activation": lambda m: m.update(activation=None),
    "layout": lambda m: m.update(layout="nchw"),
    "opset": lambda m: m.update(opset={"ai.onnx": 3}),
    "ir_version": lambda m: m.update(ir_version=3),
    "producer": lambda m: m.update(producer="me"),
    "operations": lambda m: m["operations"]["ai.onnx"].update(MatMul=2),
    "weights": lambda m: m.update(weights_sha256="0" * 64),
    "exported precision": lambda m: m["precision"].update(exported="int8"),
    "trained precision": lambda m: m["precision"].update(trained="mixed_float16"),
}


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("change", LIES.values(), ids=LIES)
def test_verify_compares_the_manifest_with_the_onnx_file(change, here):
    with pytest.raises(export.VerificationError, match="as artifact.json says. Received: "):
        export.verify(edit(here, change), device="cpu")


@pytest.mark.parametrize("name", ["input name", "input shape", "input size", "input dtype", "output shape"])
def test_load_compares_the_manifest_with_the_session(name, here):
    with pytest.raises(export.VerificationError, match="model.onnx with .*, as artifact.json says"):
        export.load(edit(here, LIES[name]))


@pytest.mark.usefixtures("in_this_process")
def test_both_precisions_must_be_told_and_true(here):
    parity = json.loads((here / "parity.json").read_text())
    parity["precision"]["name"] = "int8"
    (here / "parity.json").write_text(json.dumps(parity))
    about = json.loads((here / "artifact.json").read_text())
    about["precision"]["exported"] = "int8"
    write_manifest(here, {k: v for k, v in about.items() if k not in ("format", "files", "sha256")})
    with pytest.raises(export.VerificationError, match="with numbers in int8, as artifact.json says. Received: none"):
        export.verify(here, device="cpu")


def test_verify_compares_the_manifest_with_the_saved_model(both):
    # As if there had been no ONNX file.
    (both / "model.onnx").unlink()

    def without_onnx(m):
        m.update(formats=["saved_model"])
        m["files"].pop("model.onnx")

    edit(both, without_onnx)
    manifest = (both / "artifact.json").read_text()
    assert export.verify(both)["max_abs_diff"] < 1e-5
    for name in ("input name", "input shape", "input dtype", "output shape", "output dtype", "number of outputs"):
        (both / "artifact.json").write_text(manifest)
        with pytest.raises(export.VerificationError, match="(saved_model|samples.npz) with .* as artifact.json says"):
            export.verify(edit(both, LIES[name]))


RECORDS = {
    "no comparisons": lambda p: p.pop("comparisons"),
    "none": lambda p: p.update(comparisons=[]),
    "text": lambda p: p.update(comparisons="text"),
    "no tolerance": lambda p: p["comparisons"][0].pop("atol"),
    "a tolerance of text": lambda p: p["comparisons"][0].update(atol="much"),
    "a tolerance without end": lambda p: p["comparisons"][0].update(atol=float("inf")),
    "a tolerance that is no number": lambda p: p["comparisons"][0].update(rtol=float("nan")),
}


@pytest.mark.parametrize("change", RECORDS.values(), ids=RECORDS)
def test_a_proof_that_is_none_is_refused(change, here):
    parity = json.loads((here / "parity.json").read_text())
    change(parity)
    (here / "parity.json").write_text(json.dumps(parity))
    manifest = read_manifest(here)
    with pytest.raises(export.VerificationError, match="parity.json"):
        verification.read_recorded(here, manifest)


SPOILT = {
    "no sign": ("0/allowed/probabilities", np.array([-1.0])),
    "no end": ("0/allowed/probabilities", np.array([np.inf])),
    "no number": ("0/allowed/probabilities", np.array([np.nan])),
    "text": ("0/allowed/probabilities", np.array(["much"])),
    "no truth": ("0/unsettled/probabilities", np.zeros((1, 2))),
    "another shape": ("0/unsettled/probabilities", np.zeros((1, 3), bool)),
    "another output": ("0/unsettled/other", np.zeros((1, 2), bool)),
}


@pytest.mark.parametrize(("name", "array"), SPOILT.values(), ids=SPOILT)
def test_what_samples_excuse_has_a_form(name, array, here):
    with np.load(here / "samples.npz") as file:
        arrays = dict(file)
    np.savez(here / "samples.npz", **arrays | {name: array})
    with pytest.raises(export.VerificationError, match="samples.npz to hold allowed differences"):
        verification.read_recorded(here, read_manifest(here))


def test_inputs_of_one_batch_have_equally_many_examples(here):
    two = [{"name": name, "shape": [None, 2], "dtype": "float32"} for name in "ab"]
    inputs = {"a": np.zeros((3, 2), "float32"), "b": np.zeros((2, 2), "float32")}
    with pytest.raises(export.VerificationError, match="with inputs of one batch, as artifact.json says"):
        check_batch({"inputs": two}, here, inputs=inputs)
    check_batch({"inputs": two}, here, inputs=inputs | {"b": inputs["a"]})


@pytest.mark.parametrize("spoil", ["names", "input", "shape", "dtype", "nothing"])
def test_samples_that_do_not_fit_are_refused(spoil, here):
    with np.load(here / "samples.npz") as file:
        arrays = dict(file)
    if spoil in ("names", "nothing"):
        arrays = {} if spoil == "names" else {"names": np.zeros(0, "<U1")}
    else:
        x = arrays.pop("0/input/x")
        arrays |= {"shape": {"0/input/x": x[:, :2]}, "dtype": {"0/input/x": x.astype("int8")}}.get(spoil, {})
    np.savez(here / "samples.npz", **arrays)
    with pytest.raises(export.VerificationError, match="samples.npz (to hold batches|with .* as artifact.json says)"):
        verification.read_recorded(here, read_manifest(here))


def test_a_manifest_that_could_not_be_read_again_is_not_written(here):
    with pytest.raises(export.VerificationError, match="no labels"):
        write_manifest(here, {"name": "x"})
    assert onnx.load(here / "model.onnx").graph.name == "small"
