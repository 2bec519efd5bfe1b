"""`keras-skip export` and `verify` on files of the user's own, in processes of their own."""

import json
import re
from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest

import export
import zoo
from tests.export.models import conv_net, images
from tests.processes import keras_skip

ROOT = Path(export.__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("commands")
    conv_net().save(path / "net.keras")
    np.save(path / "images.npy", np.moveaxis(images(5), -1, 1).astype("float32"))
    arguments = "--layout", "nchw", "--opset", 15, "--samples", "images.npy"
    done = keras_skip("export", "net.keras", *arguments, cwd=path, KERAS_BACKEND="jax")
    assert "net-export" in done.stdout
    return path


def test_a_keras_file_becomes_an_artifact_that_gives_what_it_gives(folder):
    about = json.loads((folder / "net-export" / "artifact.json").read_text())
    assert (about["opset"]["ai.onnx"], about["layout"], about["preprocessing"]) == (15, "nchw", None)
    parity = json.loads((folder / "net-export" / "parity.json").read_text())
    assert (about["backend"], about["engine"]) == ("jax", "tf2onnx") and "jax" in about["versions"]
    assert {pair["reference"] for pair in parity["comparisons"]} == {"Keras on jax"}
    x = images(3).astype("float32")
    received = export.load(folder / "net-export")(np.moveaxis(x, -1, 1))
    expected = conv_net()(x)
    np.testing.assert_allclose(received, expected, atol=1e-4 * np.max(np.abs(expected)))


def test_a_run_that_was_trained_on_jax_in_bfloat16_becomes_the_same_network_in_float32(tmp_path):
    pytest.importorskip("jax")
    settings = "--epochs", 2, "--set", "precision=mixed_bfloat16"
    done = keras_skip("train", "residual_mlp_digits", "--out", "run", *settings, cwd=tmp_path, KERAS_BACKEND="jax")
    # TensorFlow, which Keras imports all the same, is not heard.
    assert [line.split()[0] for line in done.stderr.splitlines()] == ["Training", "epoch", "epoch"]
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["environment"]["backend"] == "jax" and record["recipe"]["precision"] == "mixed_bfloat16"
    keras_skip("export", "run", cwd=tmp_path, KERAS_BACKEND="jax")
    digits, predictor = zoo.load_source("digits"), export.load(tmp_path / "run" / "export")
    assert predictor.metadata["precision"]["exported"] == "float32"
    accuracy = (predictor.predict(digits.test_inputs).argmax(-1) == digits.test_targets).mean()
    # What was measured in training was computed in bfloat16, on whose rounding a few answers hang.
    assert accuracy == pytest.approx(record["results"]["test_accuracy"], abs=0.02)


def test_a_keras_file_in_another_precision(folder):
    options = "--precision", "fp16", "--for-runtime", "1.17", "--samples", "samples.npy", "--record", "synthetic"
    np.save(folder / "samples.npy", images(5).astype("float32"))
    done = keras_skip("export", "net.keras", *options, "--out", "half", cwd=folder)
    about = json.loads((folder / "half" / "artifact.json").read_text())
    assert about["precision"]["exported"] == "float16" and about["formats"] == ["onnx"]
    parity = json.loads((folder / "half" / "parity.json").read_text())
    assert about["opset"]["ai.onnx"] == 20 and not [name for name in parity["recorded"] if "real" in name]
    assert "fp16" in done.stdout and " bytes" in done.stdout and "layers in float32" in done.stdout
    refused = keras_skip("export", "net.keras", "--precision", "int8", "--out", "eight", cwd=folder, expect=1)
    assert "Expected the folder of a run for --precision int8" in refused.stderr
    assert not (folder / "eight").exists()


def test_samples_that_cannot_be_read_are_a_sentence(folder):
    (folder / "cut.npz").write_bytes(b"PK\x03\x04 and no more")
    refused = keras_skip("export", "net.keras", "--samples", "cut.npz", "--out", "other", cwd=folder, expect=1)
    assert "Expected an array in .npy, or several in .npz. Received: cut.npz" in refused.stderr
    assert not (folder / "other").exists()


def test_a_device_that_is_not_there_is_an_error(folder):
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers() and Path("/dev/nvidia0").exists():
        pytest.skip("There is a GPU here.")
    for command in (("export", "net.keras", "--out", "other"), ("verify", "net-export"), ("inspect", "net-export")):
        done = keras_skip(*command, "--device", "cuda", cwd=folder, expect=1)
        assert "CUDAExecutionProvider" in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (folder / "other").exists()


def test_inspect_shows_what_is_there_and_where_the_time_goes(folder):
    for path in ("net-export", "net-export/model.onnx"):
        done = keras_skip("inspect", path, "--runs", 2, "--batch", 3, cwd=folder)
        assert "batch, 3, 8, 8" in done.stdout and "3x3x8x8" in done.stdout
        assert "Conv" in done.stdout and "microseconds" in done.stdout and "weights_sha256" in done.stdout
        assert done.stderr == ""
        assert re.search(r"weights_sha256 +[0-9a-f]{64}$", done.stdout, re.MULTILINE)
        # Elsewhere than on a terminal nothing is cut.
        assert "..." not in done.stdout
    assert "Expected an artifact or an ONNX file" in keras_skip("inspect", "nothing", cwd=folder, expect=1).stderr


def test_code_in_a_file_is_refused_with_a_sentence(folder):
    inputs = keras.Input((3,))
    keras.Model(inputs, keras.layers.Lambda(lambda x: x + 1)(inputs)).save(folder / "code.keras")
    done = keras_skip("export", "code.keras", cwd=folder, expect=1)
    assert "Lambda" in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (folder / "code-export").exists()


def test_a_text_that_is_cut_says_so():
    from zoo.cli.commands.artifacts import _shorten

    assert _shorten("a" * 64) == "a" * 64 and _shorten("b" * 65) == "b" * 60 + " ..."
