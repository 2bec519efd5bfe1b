"""The command line: commands that show progress run in new processes, the others in this one."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import export
import zoo
from tests.processes import keras_skip
from zoo.training.exporting import options_of_run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which a small resnet was trained for two epochs, and what the command line said."""
    folder = tmp_path_factory.mktemp("cli")
    short = "-e", 2, "-b", 128, "--set", "arguments.depth=8"
    done = keras_skip("train", "resnet20_digits", "-o", "run", *short, cwd=folder, fresh=True)
    return folder, done


@pytest.fixture(scope="module")
def exported(trained):
    folder, _ = trained
    return folder, keras_skip("export", "run", cwd=folder, fresh=True)


def test_train_says_the_test_accuracy_and_where_everything_is(trained):
    folder, done = trained
    record = json.loads((folder / "run" / "run.json").read_text())
    assert record["status"] == "complete"
    assert (record["recipe"]["epochs"], record["recipe"]["batch_size"]) == (2, 128)
    assert f"{record['results']['test_accuracy']:.2%}" in done.stdout
    assert "run/model.keras" in done.stdout
    assert (folder / "run" / "model.keras").is_file()
    with (folder / "run" / "history.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2


def test_train_shows_nothing_but_devices_and_progress_on_standard_error(trained):
    _, done = trained
    devices, *lines = done.stderr.strip().splitlines()
    assert devices.startswith("Training on the CPU: ")
    assert devices.endswith("Keras on tensorflow")
    assert [line.partition(":")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert all("examples/s, test accuracy " in line for line in lines)


def test_int8_is_calibrated_and_judged_on_the_images_of_the_run(trained, keras_skip_here):
    pytest.importorskip("sympy", reason="onnxruntime.quantization imports it")
    folder, _ = trained
    arguments = ["export", "run", "--out", "int8", "--precision", "int8", "--max-accuracy-drop"]
    refused = keras_skip_here(*arguments, -100, cwd=folder, expect=1)
    assert "Expected int8 to cost at most -100 points of accuracy. Received: " in refused.stderr
    assert "on 359 examples" in refused.stderr and not (folder / "int8").exists()


def test_evaluate_measures_what_training_measured(trained, keras_skip_here):
    folder, _ = trained
    record = json.loads((folder / "run" / "run.json").read_text())
    done = keras_skip_here("evaluate", "run", cwd=folder)
    assert f"{record['results']['test_accuracy']:.2%}" in done.stdout
    assert done.stderr == ""


def test_an_average_over_views_is_shown_beside_the_plain_figures_and_exported(trained, keras_skip_here):
    folder, _ = trained
    figures = zoo.evaluate(folder / "run", tta=True)
    done = keras_skip_here("evaluate", "run", "--tta", cwd=folder)
    assert f"test accuracy                {figures['accuracy']:.2%}\n" in done.stdout
    assert f"accuracy over views (shift)  {figures['tta_accuracy']:.2%}\n" in done.stdout
    assert "accuracy over views (mirror)" in keras_skip_here("evaluate", "run", "--views", "mirror", cwd=folder).stdout
    report = (folder / "run" / "report.html").read_bytes()
    assert "run/export-tta/model.onnx" in keras_skip_here("export", "run", "--tta", cwd=folder).stdout
    assert (folder / "run" / "report.html").read_bytes() == report, "which tells of the plain network"
    predictor, digits = export.load(folder / "run" / "export-tta"), zoo.load_source("digits")
    accuracy = np.mean(predictor.predict(digits.test_inputs).argmax(-1) == digits.test_targets)
    assert accuracy == pytest.approx(figures["tta_accuracy"], abs=0.003)  # an image may stand between two classes


def test_runs_are_listed_and_a_complete_one_is_not_trained_again(trained, keras_skip_here):
    folder, done = trained
    listed = keras_skip_here("runs", ".", cwd=folder).stdout
    assert all(word in listed for word in ("run", "complete", "resnet20", "digits", "2/2", "accuracy"))
    (row,) = csv.DictReader(keras_skip_here("runs", ".", "--format", "csv", cwd=folder).stdout.splitlines())
    results = json.loads((folder / "run" / "run.json").read_text())["results"]
    assert (row["run"], row["epochs"], row["validation_accuracy"]) == ("run", "2/2", "")
    assert float(row["test_accuracy"]) == results["test_accuracy"]
    before = (folder / "run" / "run.json").read_bytes()
    again = keras_skip_here("train", "--resume", "run", cwd=folder)
    assert again.stdout == done.stdout.replace("Trained", "Already complete")
    assert (folder / "run" / "run.json").read_bytes() == before


def test_export_says_parity_and_where_everything_is(exported):
    folder, done = exported
    artifact = folder / "run" / "export"
    assert (artifact / "model.onnx").is_file()
    assert (artifact / "saved_model").is_dir()
    parity = json.loads((artifact / "parity.json").read_text())
    assert parity["max_abs_diff"] <= 1e-5
    assert parity["argmax_agreement"] == 1.0
    assert "run/export/model.onnx" in done.stdout
    assert "100.00%" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("layout", [None, "nchw"])
def test_samples_are_of_every_class_where_the_images_are_sorted(layout, tmp_path):
    labels = np.repeat([0, 1, 2], 40)
    images = np.broadcast_to(labels[:, None, None, None], (120, 4, 6, 3)).astype("uint8")
    preprocessing = zoo.Preprocessing(1.0, (0.0,), (1.0,))
    source = zoo.Source("sorted", images, labels, images, labels, ("a", "b", "c"), preprocessing)
    known = options_of_run(zoo.Run(tmp_path, {"source": source.as_dict()}), source, layout, "fp32")
    assert known["samples"].shape == ((32, 3, 4, 6) if layout else (32, 4, 6, 3))
    # The page of the server shows the first twelve.
    assert known["samples"][:12].max(axis=(1, 2, 3)).tolist() == [0, 1, 2] * 4


def test_export_measures_its_speed_beside_keras_for_the_report(exported):
    folder, done = exported
    rows = json.loads((folder / "run" / "speed.json").read_text())["rows"]
    assert [row["batch"] for row in rows] == [1, 32]
    assert all(row["keras"] > 0 and row["exported"] > 0 and row["rounds"] >= 5 for row in rows)
    assert all(f"{row['exported']:.3g} ms" in done.stdout for row in rows)
    assert "<h2>Speed</h2>" in (folder / "run" / "report.html").read_text()


def test_exported_graph_takes_raw_pixels_and_is_as_accurate_as_the_run(exported):
    import onnxruntime

    folder, _ = exported
    source = zoo.load_source("digits")
    session = onnxruntime.InferenceSession(folder / "run" / "export" / "model.onnx", providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(None, {session.get_inputs()[0].name: source.test_inputs})
    accuracy = (probabilities.argmax(1) == source.test_targets).mean()
    assert accuracy == pytest.approx(zoo.open_run(folder / "run").results["test_accuracy"])
    assert probabilities.sum(1) == pytest.approx(1, abs=1e-5)


def test_verify_passes_and_notices_a_changed_file(exported, keras_skip_here):
    folder, _ = exported
    artifact = folder / "run" / "export"
    done = keras_skip_here("verify", artifact, cwd=folder)
    assert "Verified" in done.stdout
    assert done.stderr == ""
    whole = (artifact / "model.onnx").read_bytes()
    (artifact / "model.onnx").write_bytes(whole[:-1])
    try:
        failed = keras_skip_here("verify", artifact, cwd=folder, expect=1)
    finally:
        (artifact / "model.onnx").write_bytes(whole)
    assert failed.stderr.startswith("Error: ")
    assert "model.onnx" in failed.stderr


def test_existing_run_and_artifact_are_refused(exported, keras_skip_here):
    folder, _ = exported
    for command in (("train", "resnet20_digits", "--out", "run"), ("export", "run")):
        failed = keras_skip_here(*command, cwd=folder, expect=1)
        assert failed.stderr.startswith("Error: ")
        assert len(failed.stderr.splitlines()) == 1 and "--overwrite" in failed.stderr
    assert json.loads((folder / "run" / "run.json").read_text())["status"] == "complete"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("train", "resnet20_digit"), "Did you mean resnet20_digits"),
        (("train", "resnet20_digits", "--set", "epoch=1"), "Did you mean epochs?"),
        (("train", "resnet20_digits", "--set", "optimizer.lrr=1"), "Did you mean optimizer.lr"),
        (("train", "resnet20_digits", "--set", "epochs"), "Expected --set NAME=VALUE. Received: --set epochs"),
        (("train", "resnet20_digits", "--epochs", "0"), "Received: --epochs 0"),
        (("train",), "Expected a network, a recipe, --model FILE or --resume RUN"),
        (("train", "resnet_20", "--data", "digits"), "Did you mean resnet20"),
        (("train", "resnet20"), "Expected data for the network resnet20"),
        (("train", "--model", "resnet20"), "Expected a model in a .keras file"),
        (("train", "resnet20_digits", "--resume", "run"), "--resume with no other options than --device"),
        (("train", "resnet20_digits", "--device", "cuda"), "--device to be one of auto, cpu, gpu"),
        (("train", "resnet20_digits", "--devices", "0"), "--devices to be at least 1"),
        (("train", "resnet20_digits", "--devices", "9"), "Expected 9 devices"),
        (("train", "--resume", "nowhere"), "nowhere"),
        (("runs", "nowhere"), "nowhere"),
        (("describe", "resnet_20"), "Did you mean resnet20"),
        (("list", "vgg*"), "vgg*"),
        (("gradients", "plain_mlp", "--out", "flow.gif"), ".svg, .png, .pdf"),
        (("gradients", "plain_mpl"), "Did you mean plain_mlp"),
        (("evaluate", "resnet20", "--weights", "nothing"), "resnet20, nothing"),
        (("evaluate", "nowhere"), "nowhere"),
        (("export", "nowhere"), "nowhere"),
        (("evaluate", "resnet20", "--weights", "digits", "--views", "six"), "--views to be one of mirror, shift"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_1(command, said, tmp_path, keras_skip_here):
    failed = keras_skip_here(*command, cwd=tmp_path, expect=1)
    assert failed.stdout == ""
    (line,) = failed.stderr.splitlines()
    assert line.startswith("Error: Expected ")
    assert said in line
    assert list(tmp_path.iterdir()) == []


def test_gradients_are_drawn_and_overwrite_nothing(tmp_path, keras_skip_here):
    command = ("gradients", "plain_mlp", "highway_mlp", "--set", "depth=6", "--out", "flow.svg")
    done = keras_skip_here(*command, cwd=tmp_path)
    assert "highway_mlp" in done.stdout and done.stderr == ""
    with (tmp_path / "flow.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2 * 6
    before = (tmp_path / "flow.svg").read_bytes()
    assert before.startswith(b"<?xml")
    failed = keras_skip_here(*command, cwd=tmp_path, expect=1)
    assert "or replace it with --overwrite" in failed.stderr
    assert (tmp_path / "flow.svg").read_bytes() == before


def test_list_and_describe(tmp_path, keras_skip_here):
    listed = keras_skip_here("list", "*20", cwd=tmp_path)
    assert "resnet20_digits" in listed.stdout
    assert "plain_mlp" not in listed.stdout
    described = keras_skip_here("describe", "resnet20", cwd=tmp_path)
    assert "269,722" in described.stdout
    assert "1512.03385" in described.stdout
    assert described.stderr == ""
    assert "keras-skip train resnet20_digits" in keras_skip_here("describe", "resnet20_digits", cwd=tmp_path).stdout


@pytest.mark.parametrize("command", [["--version"], ["list"], ["train", "--help"], ["describe", "resnet20_digits"]])
def test_what_needs_no_network_imports_no_heavy_package(command, tmp_path):
    script = (
        "import sys, zoo.cli\n"
        "try:\n    zoo.cli.main()\nexcept SystemExit:\n    pass\n"
        "heavy = ('tensorflow', 'keras', 'keras_skip', 'matplotlib', 'sklearn', 'export')\n"
        "print('imported:', [name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "imported: []"
