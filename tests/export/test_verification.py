import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
from keras import layers

import export
from export import verification
from export.model.inputs import RawInput
from export.storage.manifest import write_manifest
from tests.export.models import Function, conv_net, randomise

pytestmark = pytest.mark.usefixtures("in_this_process")

FILES = [
    "artifact.json",
    "model.onnx",
    "parity.json",
    "samples.npz",
    "saved_model/saved_model.pb",
    "saved_model/variables/variables.data-00000-of-00001",
]


def test_an_untouched_artifact_passes_and_every_form_is_compared(artifact):
    result = export.verify(artifact)
    assert result["files"] == sum(p.is_file() for p in artifact.rglob("*"))
    assert result["max_abs_diff"] <= 1e-5 and result["argmax_agreement"] == 1.0
    pairs = {(c["reference"], c["candidate"]) for c in result["comparisons"] if c["status"] == "compared"}
    recorded = "Keras, recorded at export"
    plain = "onnxruntime, not optimised"
    assert {(recorded, plain), (recorded, "onnxruntime, optimised"), (recorded, "SavedModel")} <= pairs
    assert {(plain, "onnxruntime, optimised"), (plain, "SavedModel")} <= pairs


@pytest.mark.parametrize("use", [export.verify, export.inspect, export.load], ids=lambda use: use.__name__)
def test_an_unknown_device_is_refused(use, artifact):
    with pytest.raises(ValueError, match=r"Expected device to be one of \('cpu', 'cuda'.* Received: device='tpu'"):
        use(artifact, device="tpu")


def test_fresh_inputs_differ_each_time(artifact):
    assert export.verify(artifact)["seed"] != export.verify(artifact)["seed"]


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_found_in_any_file(name, spoiled):
    data = bytearray((spoiled / name).read_bytes())
    data[len(data) // 2] ^= 1
    (spoiled / name).write_bytes(data)
    with pytest.raises(export.VerificationError, match=name):
        export.verify(spoiled)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_found(name, spoiled):
    data = (spoiled / name).read_bytes()
    (spoiled / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(export.VerificationError, match=name):
        export.verify(spoiled)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_found(name, spoiled):
    (spoiled / name).unlink()
    with pytest.raises((export.VerificationError, FileNotFoundError), match=name):
        export.verify(spoiled)


def test_everything_that_is_wrong_is_named(spoiled):
    (spoiled / "samples.npz").unlink()
    (spoiled / "model.onnx").write_bytes(b"")
    (spoiled / "notes.txt").write_text("hello")
    with pytest.raises(
        export.VerificationError, match=r"missing samples.npz; changed model.onnx; unexpected notes.txt"
    ):
        export.verify(spoiled)


def test_changed_labels_are_found(spoiled):
    about = json.loads((spoiled / "artifact.json").read_text())
    about["labels"].reverse()
    (spoiled / "artifact.json").write_text(json.dumps(about))
    with pytest.raises(export.VerificationError, match="changed contents"):
        export.verify(spoiled)


def test_another_format_is_refused(spoiled):
    about = json.loads((spoiled / "artifact.json").read_text())
    (spoiled / "artifact.json").write_text(json.dumps(about | {"format": 99}))
    with pytest.raises(export.VerificationError, match="Received: format 99"):
        export.verify(spoiled)


@pytest.mark.parametrize("content", ["[]", "{}", "null", "{"])
def test_a_manifest_that_is_none_is_refused(content, spoiled):
    (spoiled / "artifact.json").write_text(content)
    with pytest.raises(export.VerificationError, match="artifact.json"):
        export.verify(spoiled)


def test_where_there_is_no_artifact_there_is_nothing_to_verify(tmp_path):
    with pytest.raises(FileNotFoundError, match="Expected an artifact"):
        export.verify(tmp_path / "nothing")


def reseal(folder: Path) -> None:
    about = json.loads((folder / "artifact.json").read_text())
    write_manifest(folder, {k: v for k, v in about.items() if k not in ("format", "files", "sha256")})


def another_network(folder: Path) -> export.Artifact:
    raw = export.Preprocessing("uint8", scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    return export.export(randomise(conv_net(), seed=9), folder, preprocessing=raw, activation="softmax")


def test_another_file_is_found_even_with_matching_hashes(spoiled, tmp_path):
    shutil.copy(another_network(tmp_path / "other").onnx, spoiled / "model.onnx")
    reseal(spoiled)
    with pytest.raises(export.VerificationError, match="with weights_sha256 .*, as artifact.json says"):
        export.verify(spoiled)


def test_other_weights_are_found_even_with_matching_hashes(spoiled):
    model = onnx.load(spoiled / "model.onnx")
    weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weights.raw_data = (2 * np.frombuffer(weights.raw_data, "float32")).tobytes()
    onnx.save(model, spoiled / "model.onnx")
    reseal(spoiled)
    with pytest.raises(export.ParityError, match="onnxruntime, not optimised against Keras, recorded at export on "):
        export.verify(spoiled)


def test_another_saved_model_is_found_even_with_matching_hashes(spoiled, tmp_path):
    shutil.rmtree(spoiled / "saved_model")
    shutil.copytree(another_network(tmp_path / "other").saved_model, spoiled / "saved_model")
    reseal(spoiled)
    with pytest.raises(export.ParityError, match="SavedModel against Keras"):
        export.verify(spoiled)


def test_an_invalid_model_is_found_even_with_matching_hashes(spoiled):
    (spoiled / "model.onnx").write_bytes(b"\x08\x08")
    reseal(spoiled)
    with pytest.raises(export.VerificationError, match="onnx's checker"):
        export.verify(spoiled)


def test_it_proves_against_keras_where_keras_and_tensorflow_are_not_installed(artifact):
    code = f"""
import sys
for name in ("keras", "tensorflow", "keras_skip", "tf2onnx", "zoo"):
    sys.modules[name] = None
sys.path.insert(0, {str(Path(export.__file__).parents[1])!r})
import json, export
print(json.dumps(export.verify({str(artifact)!r})))
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert done.stderr == ""
    by_candidate = {c["candidate"]: c for c in result["comparisons"] if c["reference"] == "Keras, recorded at export"}
    assert by_candidate["onnxruntime, optimised"]["max_abs_diff"] <= 1e-5
    assert by_candidate["SavedModel"] == {
        "status": "not available",
        "reference": "Keras, recorded at export",
        "candidate": "SavedModel",
        "reason": "TensorFlow is not installed.",
    }
    assert np.isfinite(result["max_rel_diff"])


def test_fresh_inputs_are_as_large_as_recorded_ones(tmp_path):
    x = keras.Input((3,))
    scaled = layers.Normalization(mean=[1e4, 0.0, 1e-4], variance=[100.0, 1.0, 1e-12])(x)
    made = export.export(randomise(keras.Model(x, layers.Dense(3)(scaled))), tmp_path / "a", formats="onnx")
    plain = export.verify(made.path, device="cpu")["comparisons"]
    assert {"random,", "fresh"} == {name.split()[0] for pair in plain for name in pair.get("inputs", [])}


def test_missing_values_among_recorded_samples_do_not_make_fresh_inputs_missing(tmp_path, monkeypatch):
    x = keras.Input((4,))
    known = Function(lambda x: keras.ops.where(keras.ops.isnan(x), 0.0, x))(x)
    samples = np.random.default_rng(0).normal(50, 2, (8, 4)).astype("float32")
    samples[2, 1], samples[3, 2], samples[:, 3] = np.nan, np.inf, np.nan
    made = export.export(keras.Model(x, layers.Dense(2)(known)), tmp_path / "a", formats="onnx", samples=samples)
    drawn = {}
    run = verification.run_everywhere

    def note(path, batches, *others):
        drawn.update(batches)
        return run(path, batches, *others)

    monkeypatch.setattr(verification, "run_everywhere", note)
    assert export.verify(made.path, device="cpu")["comparisons"]
    fresh = np.concatenate([batch["input"] for name, batch in drawn.items() if name.startswith("fresh")])
    assert np.isfinite(fresh).all() and (fresh.std(axis=0) > 0).all()
    assert abs(fresh).max() < 300
    nothing, row = (
        verification._match_scale(RawInput("x", (None, 4), "float32"), [x]) for x in (samples[:, 3:], samples)
    )
    assert nothing.normal == (0, 1)
    np.testing.assert_allclose(row.normal, [[*np.ma.masked_invalid(samples).mean(axis=0)[:3], 0], [2, 2, 2, 1]], atol=1)
