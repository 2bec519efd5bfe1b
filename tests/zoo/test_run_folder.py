"""The run folder: what it holds, how it is read again, and what it does on a full disk."""

import csv
import json
import os
import shutil
from pathlib import Path

import keras
import pytest

import zoo
from tests.zoo.small_runs import OPTIONS
from zoo._files import replace_file


def test_run_folder_says_everything(run):
    record = json.loads((run.path / "run.json").read_text())
    assert record == run.record
    assert record["status"] == "complete"
    assert record["recipe"]["epochs"] == 2
    assert record["overrides"] == {**OPTIONS, "source": "digits"}
    assert record["seed"] == record["recipe"]["seed"] == 0
    assert record["versions"]["keras"] == keras.__version__
    assert record["source"]["name"] == "digits"
    assert len(record["source"]["class_names"]) == 10
    names = {path.name for path in run.path.iterdir()}
    assert names == {"run.json", "history.csv", "tensorboard", "checkpoints", "model.keras", "report.html", ".lock"}
    saved = sorted(path.name for path in (run.path / "checkpoints").iterdir())
    assert saved == ["step-000000004.npz", "step-000000008.npz"]
    assert record["environment"]["backend"] == keras.backend.backend()
    assert zoo.open_run(run.path) == run


def test_repr_of_a_run_fits_a_line(run):
    accuracy = round(run.results["test_accuracy"], 4)
    facts = f"recipe='plain_mlp_digits', status='complete', test_accuracy={accuracy}"
    assert repr(run) == f"Run({str(run.path)!r}, {facts})"
    assert repr(zoo.Run(Path("runs/new"), {})) == "Run('runs/new', recipe=None, status=None)"


def test_network_without_weights_is_no_run_and_the_error_says_so():
    with pytest.raises(ValueError, match="'resnet20'. resnet20 is a network: name its weights too, or train it first$"):
        zoo.evaluate("resnet20")
    with pytest.raises(ValueError, match="Received: 'nowhere'$"):
        zoo.evaluate("nowhere")


def test_what_another_tool_calls_a_run_is_none(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "ours")
    for name, text in (("other", '{"id": 3}'), ("list", "[]")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(text)
        with pytest.raises(ValueError, match="Expected a run.json of keras-skip. Received: "):
            zoo.open_run(tmp_path / name)
        with pytest.raises(FileExistsError, match="Expected a run to overwrite"):
            zoo.train("plain_mlp_digits", out=tmp_path / name, overwrite=True)
        assert (tmp_path / name / "run.json").read_text() == text
    assert [found.path.name for found in zoo.list_runs(tmp_path)] == ["ours"]


def without(record, *names):
    return {name: value for name, value in record.items() if name not in names}


BROKEN = {
    "no JSON": lambda record: "not json",
    "half": lambda record: json.dumps(record)[:-50],
    "deep": lambda record: "[" * 10**5,
    "no source": lambda record: json.dumps(record | {"source": None}),
    "no start": lambda record: json.dumps(record | {"started": 3}),
    "nameless data": lambda record: json.dumps(record | {"source": without(record["source"], "name")}),
    "data without classes": lambda record: json.dumps(record | {"source": without(record["source"], "class_names")}),
    "another recipe": lambda record: json.dumps(record | {"recipe": record["recipe"] | {"color": "red"}}),
    "no recipe": lambda record: json.dumps(record | {"recipe": without(record["recipe"], "optimizer")}),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_record_does_not_hide_the_others(run, tmp_path, kind):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps(run.record))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text(BROKEN[kind](run.record))
    with pytest.warns(UserWarning, match=r"^Expected .* Received: .*broken.*; it is skipped$"):
        found = zoo.list_runs(tmp_path)
    assert [one.path.name for one in found] == ["first", "second"]
    with pytest.raises(ValueError, match=r"^Expected .* Received: .*broken"):
        zoo.open_run(tmp_path / "broken")


def test_records_of_other_programs_are_passed_over_in_silence(run, tmp_path):
    (tmp_path / "theirs").mkdir()
    for text in ("{}", "[1, 2]", "3"):
        (tmp_path / "theirs" / "run.json").write_text(text)
        assert zoo.list_runs(tmp_path) == []


def test_history_has_a_row_per_epoch(run):
    with (run.path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[-1]["test_accuracy"]) == run.results["test_accuracy"]
    assert float(rows[-1]["test_loss"]) == run.results["test_loss"]


def test_events_hold_the_figures_of_the_history(run):
    import tensorflow as tf

    (file,) = (run.path / "tensorboard").iterdir()
    found = {}
    for record in tf.data.TFRecordDataset(str(file)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            found[value.tag, event.step] = value.simple_value
    assert found["test_accuracy", 2] == pytest.approx(run.results["test_accuracy"])
    assert {step for _, step in found} == {1, 2}


def test_target_that_cannot_be_written_to_and_full_disk_are_refused_before_training(
    small_source, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="The folder .*file/run. cannot be written"):
        zoo.train("plain_mlp_digits", small_source, tmp_path / "file" / "run")
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match=r"need [\d.]+ MB of free disk space. Only 0.0 MB are free"):
        zoo.train("plain_mlp_digits", small_source, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_disk_that_fills_up_leaves_the_last_checkpoint_and_says_how_to_resume(tmp_path, no_report):
    """A limit of the process on the size of files, set in the second epoch, is for a write what a full disk is."""
    resource = pytest.importorskip("resource", reason="limits on the size of files are Unix's")

    class Fill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))

    settings = {"epochs": 2, "arguments.depth": 4}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(zoo.TrainingError, match="File too large.* resume with: keras-skip train --resume .*run"):
            zoo.train("plain_mlp_digits", out=tmp_path / "run", callbacks=[Fill()], **settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    run = zoo.open_run(tmp_path / "run")
    assert run.status == "failed"
    assert [path.name for path in (run.path / "checkpoints").iterdir()] == ["step-000000023.npz"]
    whole = zoo.train("plain_mlp_digits", out=tmp_path / "whole", **settings)
    assert zoo.resume(run).results["test_loss"] == whole.results["test_loss"]


def test_file_is_whole_or_not_there(tmp_path):
    target = tmp_path / "state.weights.h5"
    target.write_text("before")
    with pytest.raises(RuntimeError), replace_file(target) as beside:
        assert beside.name.endswith(".weights.h5")
        beside.write_text("half")
        raise RuntimeError
    assert target.read_text() == "before"
    with replace_file(target) as beside:
        beside.write_text("after")
    assert target.read_text() == "after"
    assert os.listdir(tmp_path) == ["state.weights.h5"]
