"""int8: what is written, what is measured, and what is refused."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest

import export
from export.precision import int8, quantisation
from export.runtime import jobs
from export.runtime.worker import INPUTS
from export.storage.arrays import read_batches, write_batches
from export.storage.manifest import write_manifest
from tests.export.models import RAW, conv_net, expected, images
from tests.export.structure import optimised
from tests.export.test_artifact import contents

pytestmark = pytest.mark.usefixtures("in_this_process")

FASTER = [{"batch": 32, "fp32_ms": 3.0, "int8_ms": 1.5, "speedup": 2.0, "rounds": 5}]
SLOWER = [{"batch": 32, "fp32_ms": 1.5, "int8_ms": 3.0, "speedup": 0.5, "rounds": 5}]
needs_sympy = pytest.mark.skipif(find_spec("sympy") is None, reason="onnxruntime.quantization imports sympy")


def pictures(count: int, seed: int) -> np.ndarray:
    """Noise on a colour that differs from picture to picture, so that the network's decisions do too."""
    generator = np.random.default_rng(seed)
    colours = generator.integers(0, 200, (count, 1, 1, 3))
    return (colours + generator.integers(0, 56, (count, 8, 8, 3))).astype("uint8")


@pytest.fixture(scope="module")
def quantised(tmp_path_factory):
    if find_spec("sympy") is None:
        pytest.skip("onnxruntime.quantization imports sympy.")
    path = tmp_path_factory.mktemp("int8") / "a"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantisation, "race", lambda *_: FASTER)
        return to_int8(path, max_accuracy_drop=10)


def to_int8(path: Path, **arguments):
    test = pictures(200, seed=2)
    labels = np.argmax(expected(test), axis=-1)
    assert len(np.unique(labels)) > 1
    given = {"calibration": pictures(64, seed=1), "test": (test, labels)} | arguments
    return export.export(
        conv_net(), path, preprocessing=RAW, activation="softmax", samples=images(9), precision="int8", **given
    )


def test_int8_computes_in_integers_with_a_scale_for_each_channel(quantised):
    operations = [node.op_type for node in optimised(quantised.onnx).node]
    assert "QLinearConv" in operations and "Conv" not in operations
    model = onnx.load(quantised.onnx)
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    (weights,) = [name for name, x in constants.items() if x.dtype == np.int8 and x.ndim == 4]
    (scale,) = [n.input[1] for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] == weights]
    assert constants[scale].shape == (6,) and len(np.unique(constants[scale])) > 1
    # Probabilities are not in steps of 1 / 255.
    assert "Softmax" in operations
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert about["weights_sha256"] == quantised.metadata["weights_sha256"]
    assert quantised.metadata["producer"].startswith("keras-skip")
    assert quantised.metadata["precision"]["exported"] == "int8"


def test_int8_says_what_it_costs_and_saves(quantised):
    found = json.loads((quantised.path / "parity.json").read_text())["precision"]
    assert found["name"] == "int8" and found["calibration_examples"] == 64
    accuracy = found["accuracy"]
    assert (accuracy["fp32"], accuracy["examples"]) == (1.0, 200)
    decided = np.argmax(export.load(quantised.path).predict(pictures(200, seed=2)), axis=-1)
    labels = np.argmax(expected(pictures(200, seed=2)), axis=-1)
    assert accuracy["int8"] == pytest.approx(np.mean(decided == labels), abs=0.011)
    assert accuracy["drop"] == pytest.approx(100 * (1 - accuracy["int8"])) and accuracy["drop"] <= 10
    assert found["latency"] == FASTER
    assert set(found["bytes"]) == {"fp32", "int8"}
    noise = [layer["signal_to_noise_db"] for layer in found["worst_layers"]]
    assert noise == sorted(noise) and 0 < noise[0] < 60
    assert all(layer["tensor"] and layer["operation"] for layer in found["worst_layers"])


@needs_sympy
def test_int8_is_calibrated_a_few_examples_at_a_time_whatever_the_batches(artifact, tmp_path, monkeypatch):
    ran, reader, x = [], int8._make_reader, pictures(64, seed=1)

    def noted(batches):
        ran.append([len(batch["input"]) for batch in batches])
        return reader(batches)

    monkeypatch.setattr(int8, "_make_reader", noted)
    for name, batches in (("whole", [x]), ("parts", [x[:33], x[33:]])):
        int8.quantise_to_int8(
            artifact / "model.onnx", tmp_path / name, [{"input": batch} for batch in batches], "uint8", False
        )
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "parts").read_bytes()
    assert [sum(sizes) for sizes in ran] == [64, 4, 4] * 2 and max(map(max, ran)) == 4


def test_int8_is_verified_against_what_was_measured(quantised):
    record = quantised.parity["comparisons"][0]
    assert record["max_abs_diff"] < record["atol"] < 1
    checked = export.verify(quantised.path)
    assert checked["max_abs_diff"] <= record["atol"]
    compared = [pair for pair in quantised.parity["comparisons"] if pair["status"] == "compared"]
    for name, limit in record["rms"].items():
        assert 0 < limit < record["max_abs_diff"]
        assert limit == pytest.approx(1.5 * max(pair["rms_diff"][name] for pair in compared) + 0.001)
    assert record["atol"] == pytest.approx(1.5 * max(pair["max_abs_diff"] for pair in compared) + 0.01)


def test_the_root_mean_square_reveals_a_changed_int8_that_the_largest_difference_allows(quantised, tmp_path):
    folder = shutil.copytree(quantised.path, tmp_path / "artifact")
    batches = read_batches(folder / "samples.npz")
    worst = quantised.parity["comparisons"][0]["max_abs_diff"]
    for batch in batches.values():
        signs = np.where(np.arange(batch["output/probabilities"].shape[-1]) % 2, 1, -1)
        batch["output/probabilities"] += (0.7 * worst * signs).astype("float32")
    write_batches(folder / "samples.npz", batches)
    manifest = json.loads((folder / "artifact.json").read_text())
    write_manifest(folder, {key: value for key, value in manifest.items() if key not in ("files", "sha256", "format")})
    with pytest.raises(export.ParityError, match="root-mean-square difference"):
        export.verify(folder, device="cpu")


@needs_sympy
def test_int8_that_costs_too_much_is_not_published(artifact, spoiled):
    before = contents(spoiled)
    # Ranges measured on black images cut off all others.
    black = {"calibration": np.zeros((8, 8, 8, 3), "uint8")}
    with pytest.raises(export.PrecisionError, match=r"at most 0.5 points .* instead of 100.00% on 200 examples"):
        to_int8(spoiled, overwrite=True, **black)
    assert contents(spoiled) == before and list(spoiled.parent.iterdir()) == [spoiled]


@pytest.mark.parametrize(
    ("count", "labels", "drop", "message"),
    [
        (1, [0], 0.5, "at least 200 test inputs to measure a drop of 0.5 points .* Received: 1, .* worth 100 points"),
        (199, [0] * 199, 0.5, "at least 200 test inputs"),
        (199, [0] * 199, 0, "at least 200 test inputs to measure a drop of 0 points"),
        (33, [0] * 33, 3, "at least 34 test inputs"),
        (200, [*[0] * 199, 4], 0.5, "the classes of test inputs from 0 to 3. Received: 0 to 4"),
        (200, [*[0] * 199, -1], 0.5, "the classes of test inputs from 0 to 3. Received: -1 to 0"),
        (99, [0] * 99, -1, "at least 100 test inputs"),
        (200, [0] * 200, 101, "max_accuracy_drop to be between -100 and 100"),
        (200, [0] * 200, float("nan"), "max_accuracy_drop to be between -100 and 100"),
    ],
)
def test_int8_wants_a_test_that_can_tell(count, labels, drop, message, tmp_path):
    test = pictures(count, seed=2), np.array(labels)
    with pytest.raises(ValueError, match=message):
        to_int8(tmp_path / "a", test=test, max_accuracy_drop=drop)


@pytest.mark.parametrize(("count", "drop"), [(200, 0.5), (200, 0), (34, 3), (3, 100 / 3), (1, 100)])
def test_as_many_examples_as_the_drop_takes_are_enough(count, drop):
    quantisation.check_test_data(np.zeros(count, int), count, 4, drop)


@needs_sympy
def test_int8_that_is_not_faster_is_not_published(tmp_path, monkeypatch):
    monkeypatch.setattr(quantisation, "race", lambda *_: SLOWER)
    with pytest.raises(export.PrecisionError, match="3 ms instead of 1.5 ms for a batch of 32, 0.50 times as fast"):
        to_int8(tmp_path / "a", max_accuracy_drop=100)
    assert list(tmp_path.iterdir()) == []


def test_a_race_times_both_on_each_batch(artifact):
    file = artifact / "model.onnx"
    found = quantisation.race(file, file, {"input": images(3)})
    assert [raced["batch"] for raced in found] == [1, 32]
    for raced in found:
        assert raced["rounds"] >= 5 and min(raced["fp32_ms"], raced["int8_ms"], raced["speedup"]) > 0


def test_a_race_gives_each_file_its_own_times(monkeypatch):
    seconds = {"fp32.onnx": 0.003, "int8.onnx": 0.001}

    def run_here(folder, tasks, names, batches):
        write_batches(folder / INPUTS, batches)
        jobs.race(folder, folder / "answer-0", **tasks[0][1])

    monkeypatch.setattr(quantisation, "run_tasks", run_here)
    monkeypatch.setattr(jobs, "open_session", lambda path, device: path.name)
    monkeypatch.setattr(jobs, "_time_run", lambda session, batch: seconds[session])
    for raced in quantisation.race(Path("fp32.onnx"), Path("int8.onnx"), {"input": images(3)}):
        assert [raced[name] for name in ("fp32_ms", "int8_ms", "speedup")] == pytest.approx([3, 1, 3])


@pytest.mark.parametrize(
    ("machine", "flags", "activations", "reduce_range"),
    [
        ("x86_64", ["avx2", "avx512_vnni"], "uint8", False),
        ("AMD64", ["avx_vnni"], "uint8", False),
        ("x86_64", ["avx2", "avx512f"], "uint8", True),
        ("aarch64", [], "int8", False),
    ],
)
def test_the_processor_decides_how_numbers_are_quantised(machine, flags, activations, reduce_range):
    chosen = quantisation.choose_settings(machine, flags)
    assert (chosen.activations, chosen.reduce_range) == (activations, reduce_range)
