"""artifact.json that is valid and says something else than the models."""

import json
from pathlib import Path

import pytest

import export
from export.storage.manifest import write_manifest
from tests.export.small_artifact import TENSOR, edit, small


@pytest.fixture
def both(tmp_path) -> Path:
    return small(tmp_path / "both")


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
