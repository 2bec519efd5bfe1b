"""Targets beside SavedModel and ONNX: each gives Keras's answers, is recorded, verified and loaded."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import export
import zoo
from export.targets import TARGETS
from export.targets.exchange import pack, unpack
from export.targets.target import Unavailable
from tests.export.models import Function, mlp
from tests.processes import keras_skip, run_code
from zoo.cli import _export_options

pytestmark = pytest.mark.usefixtures("in_this_process")

PACKAGES = {"openvino": "openvino", "litert": "ai_edge_litert", "ort": "onnxruntime"}


def installed():
    found = []
    for name in PACKAGES:
        try:
            TARGETS[name].require()
            found.append(name)
        except Unavailable:
            pass
    return found


needs = {
    name: pytest.mark.skipif(name not in installed(), reason=f"{PACKAGES[name]} is not installed") for name in PACKAGES
}
each_target = pytest.mark.parametrize("target", [pytest.param(name, marks=mark) for name, mark in needs.items()])


def test_the_command_line_has_every_target():
    """It lists them again, since importing the package takes as long as the libraries behind it."""
    assert set(_export_options.TARGETS) == set(TARGETS)


@pytest.fixture(scope="module")
def network():
    """The start of a trained resnet20, up to its first strided block; `converted` adds the scaling and a softmax."""
    trained = zoo.load("resnet20", weights="cifar10")
    x = layers.GlobalAveragePooling2D()(trained.get_layer("stage2_block1").output)
    return keras.Model(trained.input, x, name="start_of_resnet20")


@pytest.fixture(scope="module")
def converted(network, tmp_path_factory):
    return export.export(
        network,
        tmp_path_factory.mktemp("targets") / "resnet20",
        targets=installed(),
        preprocessing=export.Preprocessing("uint8", scale=1 / 255),
        activation="softmax",
        batch_sizes=(1, 3),
        device="cpu",
    )


@pytest.fixture
def copy(converted, tmp_path):
    return Path(shutil.copytree(converted.path, tmp_path / "copy"))


@each_target
def test_a_trained_network_gives_the_answers_of_keras(target, network, converted):
    x = np.random.default_rng(5).integers(0, 256, (5, 32, 32, 3), dtype="uint8")
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(network(x.astype("float32") / 255)))
    received = export.load(converted.path, target=target)(x)
    np.testing.assert_allclose(received, expected, atol=1e-5)
    assert np.ptp(expected) > 0.1


@each_target
def test_each_of_several_threads_gets_its_own_answers(target, converted):
    load = export.load(converted.path, target=target)
    given = [np.random.default_rng(seed).integers(0, 256, (2, 32, 32, 3), dtype="uint8") for seed in range(4)]
    expected = [load(x) for x in given]
    with ThreadPoolExecutor(len(given)) as pool:
        received = list(pool.map(load, given * 40))
    for answer, right in zip(received, expected * 40, strict=True):
        np.testing.assert_allclose(answer, right, atol=1e-6)


@each_target
def test_the_proof_is_recorded_and_repeated(target, converted):
    title, recorded = TARGETS[target].title, converted.metadata["targets"][target]
    assert recorded["batch"] is None and any(c.isdigit() for c in recorded["runtime"])
    (pair,) = [pair for pair in converted.parity["comparisons"] if pair["candidate"] == title]
    assert (pair["reference"], pair["batch_sizes"], pair["examples"]) == ("Keras", [1, 3], 4)
    assert 0 < pair["max_abs_diff"] < 1e-5
    assert json.loads((converted.path / "parity.json").read_text()) == converted.parity


def test_verify_runs_every_target_again(converted):
    found = export.verify(converted.path, device="cpu")
    pairs = {(pair["reference"], pair["candidate"]) for pair in found["comparisons"] if pair["status"] == "compared"}
    for target in installed():
        title = TARGETS[target].title
        assert {("Keras, recorded at export", title), ("onnxruntime, not optimised", title)} <= pairs


def spoil_weights(folder, name, file):
    """Changes a number in the middle of a file and signs the artifact again, as its author could."""
    from export.storage.manifest import write_manifest

    content = bytearray((folder / file).read_bytes())
    middle = len(content) // 2 // 4 * 4
    content[middle : middle + 400] = np.full(100, 0.5, "<f4").tobytes()
    (folder / file).write_bytes(content)
    manifest = json.loads((folder / "artifact.json").read_text())
    write_manifest(folder, {k: v for k, v in manifest.items() if k not in ("format", "files", "sha256")})


@needs["openvino"]
def test_verify_finds_a_target_with_other_weights(copy):
    spoil_weights(copy, "openvino", "openvino/model.bin")
    with pytest.raises(export.ParityError, match="Expected OpenVINO against Keras, recorded at export"):
        export.verify(copy, device="cpu")


@needs["ort"]
def test_a_changed_file_is_not_loaded(copy):
    with (copy / "model.ort").open("ab") as file:
        file.write(b" ")
    with pytest.raises(export.VerificationError, match=r"model\.ort as it was exported. Received: a changed file"):
        export.load(copy, target="ort")
    export.load(copy)


def test_a_missing_or_unknown_target_is_refused(converted, tmp_path):
    with pytest.raises(ValueError, match="Expected target to be one that can be loaded"):
        export.load(converted.path, target="web")
    with pytest.raises(ValueError, match=r"Expected targets to be some of .* Received: targets=\('coreml',\)"):
        export.export(mlp(), tmp_path / "never", targets="coreml")
    with pytest.raises(ValueError, match="Expected the format saved_model, from which the target litert is made"):
        export.export(mlp(), tmp_path / "never", targets="litert", formats="onnx")
    with pytest.raises(ValueError, match="Expected precision='fp32' for targets"):
        export.export(mlp(), tmp_path / "never", targets="ort", precision="fp16")
    assert not (tmp_path / "never").exists()


def test_a_missing_package_is_named_before_the_export_starts(monkeypatch, tmp_path):
    monkeypatch.setattr("export.targets.target.find_spec", lambda name: None)
    with pytest.raises(export.ExportError, match=r"needs openvino, which is not installed: pip install openvino"):
        export.export(mlp(), tmp_path / "never", targets="openvino")
    assert not (tmp_path / "never").exists()


QUIET = """
import os, sys
from pathlib import Path
os.register_at_fork(before=lambda: print("forked"))
from export.targets import TARGETS
TARGETS["openvino"].open(Path("openvino/model.xml"))
print("openvino_telemetry" in sys.modules, "openvino" in sys.modules)
"""


@needs["openvino"]
def test_openvino_does_not_report_its_import_to_intel(converted):
    assert run_code(QUIET, cwd=converted.path).split() == ["False", "True"]


@needs["openvino"]
def test_verify_says_which_target_cannot_run_here(converted, monkeypatch):
    monkeypatch.setattr("export.targets.target.find_spec", lambda name: name != "openvino" or None)
    found = export.verify(converted.path, device="cpu")
    (absent,) = [pair for pair in found["comparisons"] if pair["candidate"] == "OpenVINO"]
    assert absent["status"] == "not available" and "pip install openvino" in absent["reason"]


@needs["litert"]
def test_litert_refuses_operations_of_tensorflow_alone(tmp_path):
    x = keras.Input((4,))
    saved = export.to_saved_model(keras.Model(x, Function(keras.ops.erfinv)(x)), tmp_path / "saved")
    with pytest.raises(export.ExportError, match="Expected operations that LiteRT has. Received: Erfinv"):
        TARGETS["litert"].convert(saved, tmp_path / "model.tflite")
    assert not (tmp_path / "model.tflite").exists()


@needs["litert"]
def test_several_inputs_and_outputs_of_any_length(tmp_path):
    """Names go to their own tensors, and dynamic sizes are those of the input."""
    one, two = keras.Input((None, 3), name="one"), keras.Input((2,), dtype="int32", name="two")
    both = layers.Conv1D(4, 3, padding="same", activation="tanh")(one)
    chosen = layers.Flatten()(layers.Embedding(7, 5)(two))
    model = keras.Model([one, two], {"steps": both, "row": layers.Dense(6)(chosen)})
    targets = installed()
    made = export.export(model, tmp_path / "two", targets=targets, device="cpu", batch_sizes=(1, 2))
    x = {
        "one": np.random.default_rng(0).normal(size=(3, 11, 3)).astype("float32"),
        "two": np.array([[1, 6]] * 3, "int32"),
    }
    expected = {name: np.asarray(y) for name, y in model(x).items()}
    for target in targets:
        received = export.load(made.path, target=target)(x)
        assert sorted(received) == ["row", "steps"]
        for name, y in expected.items():
            np.testing.assert_allclose(received[name], y, atol=1e-5)


def test_a_target_that_fails_on_batches_is_proven_one_example_at_a_time(monkeypatch, tmp_path):
    """A runtime that computes only the first example of a batch stands for one that takes no batches."""
    from dataclasses import replace

    from export.targets import opening, proving

    whole = TARGETS["ort"]

    def run(path, batches):
        return {name: {k: y[:1] for k, y in batch.items()} for name, batch in whole.run(path, batches).items()}

    def open_first(path):
        compute = whole.open(path)
        return lambda batch: {name: y[:1] for name, y in compute(batch).items()}

    table = {"ort": replace(whole, run=run, open=open_first)}
    for module in (proving, opening):
        monkeypatch.setattr(module, "TARGETS", table)
    options = {"formats": "onnx", "device": "cpu", "batch_sizes": (1, 3)}
    made = export.export(mlp(), tmp_path / "one", targets="ort", **options)
    assert made.metadata["targets"]["ort"]["batch"] == 1
    x = np.random.default_rng(1).normal(size=(4, 6)).astype("float32")
    np.testing.assert_allclose(export.load(made.path, target="ort")(x), mlp()(x), atol=1e-5)
    export.verify(made.path, device="cpu")


def far_from_zero():
    """Only larger inputs than the first ones move its output."""
    x = keras.Input((6,))
    return keras.Model(x, layers.ReLU(threshold=20.0)(x))


@pytest.mark.parametrize("make", [mlp, far_from_zero])
def test_a_target_that_computes_something_else_is_not_published(make, monkeypatch, tmp_path):
    from dataclasses import replace

    from export.targets import proving

    whole = TARGETS["ort"]

    def run(path, batches):
        return {
            name: {k: y * np.float32(1.0005) for k, y in batch.items()}
            for name, batch in whole.run(path, batches).items()
        }

    monkeypatch.setattr(proving, "TARGETS", {"ort": replace(whole, run=run)})
    with pytest.raises(export.ParityError, match="Expected ORT format against Keras"):
        export.export(make(), tmp_path / "never", targets="ort", formats="onnx", device="cpu", batch_sizes=(1, 2))
    assert list(tmp_path.iterdir()) == []


def test_a_target_of_a_newer_version_is_named(small_artifact, tmp_path):
    from tests.export.small_artifact import edit

    folder = Path(shutil.copytree(small_artifact, tmp_path / "newer"))
    edit(folder, lambda manifest: manifest.update(targets={"tpu": {"runtime": "tpu 1", "batch": None}}))
    found = export.verify(folder, device="cpu")
    assert [pair["reason"] for pair in found["comparisons"] if pair["candidate"] == "tpu"] == [
        "This version of keras-skip does not know the target tpu."
    ]


def test_arrays_survive_the_exchange_with_a_page():
    rng = np.random.default_rng(0)
    kinds = ("bool", "uint8", "int16", "int64", "float16", "float32", "float64")
    batches = {
        "one": {kind: rng.integers(0, 100, (2, 3)).astype(kind) for kind in kinds},
        "two": {"x": np.float32([[np.nan, np.inf]]), "none": np.zeros((0, 4), "int32"), "scalar": np.array(2.5)},
    }
    again = unpack(pack(batches))
    assert {name: list(batch) for name, batch in again.items()} == {name: list(b) for name, b in batches.items()}
    for name, batch in batches.items():
        for key, x in batch.items():
            assert again[name][key].dtype == x.dtype and again[name][key].shape == x.shape
            np.testing.assert_array_equal(again[name][key], x)
    with pytest.raises(ValueError, match="Expected batches of arrays"):
        unpack(b"no")


@needs["openvino"]
def test_the_command_writes_targets_and_refuses_unknown_ones(tmp_path):
    mlp().save(tmp_path / "net.keras")
    done = keras_skip("export", "net.keras", "--target", "ort,openvino", "--device", "cpu", cwd=tmp_path)
    assert "OpenVINO" in done.stdout and "model.ort" in done.stdout
    about = json.loads((tmp_path / "net-export" / "artifact.json").read_text())
    assert list(about["targets"]) == ["ort", "openvino"]
    refused = keras_skip("export", "net.keras", "--target", "tpu", "--out", "other", cwd=tmp_path, expect=1)
    assert "Expected --target to be some of web, openvino, litert, ort" in refused.stderr
    refused = keras_skip(
        "export", "net.keras", "--target", "litert", "--format", "onnx", "--out", "other", cwd=tmp_path, expect=1
    )
    assert "Expected the format saved_model" in refused.stderr and not (tmp_path / "other").exists()
