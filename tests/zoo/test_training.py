"""Training in this process: the run folder, what it refuses, and what fails."""

import csv
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

import zoo
from zoo._files import replace_file
from zoo.analysis import gradients
from zoo.data import Batches
from zoo.training.folder import choose_folder
from zoo.training.runs import commit_run

OPTIONS = {"epochs": 2, "batch_size": 64, "label_smoothing": 0.1, "augment.pad": 1}
KINDS = ("plain", "residual", "highway", "dense")


@pytest.fixture(scope="module")
def small_source():
    """Two hundred digits to train on and fifty to test on."""
    digits = zoo.load_source("digits")
    return replace(
        digits,
        train_images=digits.train_images[:200],
        train_labels=digits.train_labels[:200],
        test_images=digits.test_images[:50],
        test_labels=digits.test_labels[:50],
    )


@pytest.fixture(scope="module")
def run(small_source, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "plain"
    return zoo.train("plain_mlp_digits", small_source, out, **OPTIONS)


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


def test_saved_network_is_the_trained_one_and_free_of_its_optimizer(run):
    figures = zoo.evaluate(run, "digits")
    assert figures["accuracy"] == pytest.approx(zoo.evaluate(zoo.load(run.path), data="digits")["accuracy"])
    assert figures["examples"] == 359
    assert not keras.saving.load_model(run.model_path).compiled


def test_results_agree_with_evaluate(run, small_source):
    figures = zoo.evaluate(run.path, small_source)
    assert figures["accuracy"] == pytest.approx(run.results["test_accuracy"])
    assert figures["loss"] == pytest.approx(run.results["test_loss"], rel=1e-5)


def test_training_accuracy_is_that_of_the_trained_network_on_the_images_as_they_are(run, small_source):
    logits = zoo.load(run.path).predict(small_source.preprocessing(small_source.train_images), verbose=0)
    measured = np.mean(logits.argmax(axis=-1) == small_source.train_labels)
    assert run.results["train_accuracy"] == pytest.approx(measured, abs=1e-6)
    with (run.path / "history.csv").open() as file:
        *_, last = csv.DictReader(file)
    assert float(last["accuracy"]) < measured - 0.05, "on augmented images, while the weights still changed"


def test_same_seed_gives_the_same_network(run, small_source, tmp_path):
    again = zoo.train("plain_mlp_digits", small_source, tmp_path / "again", **OPTIONS)
    other = zoo.train("plain_mlp_digits", small_source, tmp_path / "other", seed=1, **OPTIONS)
    weights = [zoo.load(one.path).get_weights() for one in (run, again, other)]
    assert all(np.array_equal(a, b) for a, b in zip(weights[0], weights[1], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(weights[0], weights[2], strict=True))


def test_fit_sees_each_batch_of_each_epoch_once(run, small_source, tmp_path, monkeypatch):
    """Keras fetches ahead in threads: no batch may come with the epoch before or after."""
    asked = []
    original = Batches.batch

    def spy(self, epoch, index):
        if self.seed is not None:
            asked.append((epoch, index))
        return original(self, epoch, index)

    monkeypatch.setattr(Batches, "batch", spy)
    zoo.train("plain_mlp_digits", small_source, tmp_path / "run", epochs=3, batch_size=64)
    looked_at_for_shapes, fetched = asked[:-12], asked[-12:]
    assert all(epoch == 0 for epoch, _ in looked_at_for_shapes)
    assert sorted(fetched) == [(epoch, index) for epoch in range(3) for index in range(4)]


@pytest.mark.parametrize("kind", KINDS)
def test_mlps_learn_the_digits(kind, tmp_path):
    run = zoo.train(f"{kind}_mlp_digits", out=tmp_path / "run", epochs=6)
    assert run.results["test_accuracy"] > 0.8


def test_validation_images_are_measured_in_place_of_the_test_images(small_source, tmp_path):
    run = zoo.train("plain_mlp_digits", small_source, tmp_path / "run", epochs=1, validation=0.2)
    with (run.path / "history.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["validation_accuracy"]) == run.results["validation_accuracy"]
    assert "test_accuracy" not in row
    assert run.source["examples"] == {"train": 160, "validation": 40, "test": 50}
    assert zoo.evaluate(run, small_source)["accuracy"] == pytest.approx(run.results["test_accuracy"])


def test_averages_are_what_is_measured_and_saved(small_source, tmp_path):
    settings = OPTIONS | {"optimizer.ema": 0.5}
    run = zoo.train("plain_mlp_digits", small_source, tmp_path / "run", **settings)
    figures = zoo.evaluate(run, small_source)
    assert figures["loss"] == pytest.approx(run.results["test_loss"], rel=1e-5)
    last = zoo.train("plain_mlp_digits", small_source, tmp_path / "last", **OPTIONS)
    accuracies = []
    for one in (run, last):
        with (one.path / "history.csv").open() as file:
            accuracies.append([row["accuracy"] for row in csv.DictReader(file)])
    assert accuracies[0] == accuracies[1], "the training itself is the same"
    assert last.results["train_accuracy"] != run.results["train_accuracy"]
    assert last.results["test_loss"] != run.results["test_loss"]


def test_target_that_cannot_be_written_to_and_full_disk_are_refused_before_training(
    small_source, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="Expected a folder that can be written to. Received: .*file/run"):
        zoo.train("plain_mlp_digits", small_source, tmp_path / "file" / "run")
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match=r"Expected [\d.]+ MB of free disk space .* Received: 0.0 MB"):
        zoo.train("plain_mlp_digits", small_source, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_disk_that_fills_up_leaves_the_last_checkpoint_and_says_how_to_go_on(tmp_path):
    """A limit of the process on the size of files, set in the second epoch, is for a write what a full disk is."""
    resource = pytest.importorskip("resource", reason="limits on the size of files are Unix's")

    class Fill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(zoo.TrainingError, match="File too large.* resume with: keras-skip train --resume .*run"):
            zoo.train("plain_mlp_digits", out=tmp_path / "run", epochs=3, callbacks=[Fill()])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    run = zoo.open_run(tmp_path / "run")
    assert run.status == "failed"
    assert [path.name for path in (run.path / "checkpoints").iterdir()] == ["step-000000023.npz"]
    whole = zoo.train("plain_mlp_digits", out=tmp_path / "whole", epochs=3)
    assert zoo.resume(run).results["test_loss"] == whole.results["test_loss"]


def test_existing_folder_is_refused_and_left_alone(run, small_source):
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    with pytest.raises(FileExistsError, match="Expected a folder that does not exist yet. Received: .*plain"):
        zoo.train("plain_mlp_digits", small_source, run.path, epochs=1)
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_overwrite_replaces_a_run(small_source, tmp_path):
    for epochs in (2, 1):
        run = zoo.train("plain_mlp_digits", small_source, tmp_path / "run", epochs=epochs, overwrite=True)
        (run.path / "mine.txt").touch()
        assert run == zoo.open_run(tmp_path / "run") and run.status == "complete"
    assert len((tmp_path / "run" / "history.csv").read_text().splitlines()) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


class FullDisk(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        raise OSError(28, "No space left on device")


def test_a_run_stays_until_the_one_that_replaces_it_is_complete(small_source, tmp_path):
    folder, beside = tmp_path / "run", tmp_path / "run.new"
    zoo.train("plain_mlp_digits", small_source, folder, epochs=1)
    before = content(folder)
    for wrong in ({"optimizer.lr": 1e30}, {"callbacks": [FullDisk()]}):
        with pytest.raises(zoo.TrainingError):
            zoo.train("plain_mlp_digits", small_source, folder, overwrite=True, epochs=2, **wrong)
        assert content(folder) == before
        assert zoo.open_run(beside).status == "failed"
    run = zoo.resume(beside, small_source)
    assert run == zoo.open_run(folder) and run.status == "complete" and run.epochs_done == 2
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("moved", ["neither", "old", "both"])
def test_a_move_that_was_cut_off_is_finished(small_source, tmp_path, moved):
    folder, beside = tmp_path / "run", tmp_path / "run.new"
    zoo.train("plain_mlp_digits", small_source, folder, epochs=1)
    shutil.copytree(folder, beside)
    record = json.loads((beside / "run.json").read_text()) | {"replaces": "run"}
    (beside / "run.json").write_text(json.dumps(record))
    (beside / "new.txt").touch()
    if moved != "neither":
        folder.rename(beside / ".replaced")
    if moved == "both":
        beside.rename(folder)
    run = zoo.resume(folder if moved == "both" else beside)
    assert run == zoo.open_run(folder) and "replaces" not in run.record
    assert (folder / "new.txt").is_file() and not (folder / ".replaced").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_where_a_run_is_trained_that_replaces_another(run, tmp_path, monkeypatch):
    beside = run.path.with_name(f"{run.path.name}.new")
    (tmp_path / "link").symlink_to(run.path)
    monkeypatch.chdir(run.path)
    assert {choose_folder(Path(given), overwrite=True) for given in (run.path, tmp_path / "link", ".")} == {beside}
    assert choose_folder(tmp_path / "other", overwrite=True) == tmp_path / "other"
    monkeypatch.setattr("os.path.ismount", lambda path: True)
    with pytest.raises(FileExistsError, match="the mount point"):
        choose_folder(run.path, overwrite=True)


def test_only_the_process_that_writes_moves_a_run(run, tmp_path, monkeypatch):
    shutil.copytree(run.path, tmp_path / "copy")
    copy = zoo.Run(tmp_path / "copy", {**run.record, "replaces": "run"})
    monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", "1")
    assert commit_run(copy) == copy and [path.name for path in tmp_path.iterdir()] == ["copy"]
    monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", "0")
    assert commit_run(copy) == zoo.open_run(tmp_path / "run") and [path.name for path in tmp_path.iterdir()] == ["run"]


def test_what_is_beside_a_run_and_is_not_to_replace_it_stays(small_source, tmp_path):
    zoo.train("plain_mlp_digits", small_source, tmp_path / "run", epochs=1)
    shutil.copytree(tmp_path / "run", tmp_path / "run.new")
    before = content(tmp_path)
    with pytest.raises(FileExistsError, match="Expected nothing in .*run.new"):
        zoo.train("plain_mlp_digits", small_source, tmp_path / "run", epochs=1, overwrite=True)
    assert content(tmp_path) == before


@pytest.mark.parametrize("wrong", [{"checkpoint_steps": 0}, {"checkpoint_steps": 2.5}, {"checkpoint_minutes": -1}])
def test_wrong_interval_of_checkpoints_leaves_the_run_that_is_there(run, small_source, wrong):
    ((name, value),) = wrong.items()
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    with pytest.raises(ValueError, match=f"Expected {name} to be .* Received: {name}={value}"):
        zoo.train("plain_mlp_digits", small_source, run.path, overwrite=True, **wrong)
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_overwrite_removes_nothing_but_a_run(small_source, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="Expected a run to overwrite"):
        zoo.train("plain_mlp_digits", small_source, tmp_path, epochs=1, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("recipe", "options", "named"),
    [
        ("plain_mlp_digit", {}, "plain_mlp_digit"),
        ("plain_mlp_digits", {"epoch": 3}, "epoch"),
        ("plain_mlp_digits", {"data": "digit"}, "digit"),
        ("plain_mlp_digits", {"network": "plain"}, "plain"),
        ("plain_mlp_digits", {"arguments": {"layers": 3}}, "layers"),
        ("plain_mlp_digits", {"arguments": {"depth": 1}}, "depth=1"),
    ],
)
def test_wrong_request_makes_no_folder(recipe, options, named, tmp_path):
    with pytest.raises(ValueError, match=f"Received: '?{named}"):
        zoo.train(recipe, out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_loss_that_is_not_finite_fails_the_run(small_source, tmp_path):
    with pytest.raises(zoo.TrainingError, match="Expected a finite loss. Received: loss=(nan|inf)"):
        zoo.train("plain_mlp_digits", small_source, tmp_path / "run", **{"optimizer.lr": 1e30, "schedule.warmup": 0.0})
    run = zoo.open_run(tmp_path / "run")
    assert run.status == "failed"
    assert "finite loss" in run.record["reason"]
    assert not run.model_path.exists()
    with pytest.raises(ValueError, match="Expected a run that was completed"):
        zoo.load(run.path)


def test_interrupted_run_says_so(small_source, tmp_path):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        zoo.train("plain_mlp_digits", small_source, tmp_path / "run", callbacks=[Interrupt()])
    run = zoo.open_run(tmp_path / "run")
    assert (run.status, run.record["reason"]) == ("interrupted", "KeyboardInterrupt")


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_is_for_the_run_alone(precision, small_source, tmp_path):
    before = keras.config.dtype_policy().name
    run = zoo.train("plain_mlp_digits", small_source, tmp_path / "run", epochs=1, precision=precision)
    assert zoo.load(run.path).get_layer("layer1").compute_dtype == precision.removeprefix("mixed_")
    assert zoo.load(run.path).output.dtype == "float32"
    assert keras.config.dtype_policy().name == before


def test_evaluate_refuses_data_that_do_not_fit(run):
    wrong = zoo.build("plain_mlp", input_shape=(4, 4, 1))
    with pytest.raises(ValueError, match=r"Expected images of shape \(4, 4, 1\).* Received: digits"):
        zoo.evaluate(wrong, data="digits")
    with pytest.raises(ValueError, match="Expected data for a model"):
        zoo.evaluate(wrong)


def test_classes_other_than_the_run_has_learnt_are_refused(run, small_source):
    """By whatever measures a run on data that it is given."""
    animals = ("aardvark", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay")
    others = replace(small_source, name="animals", class_names=animals, origin={})
    turned = replace(small_source, name="turned", class_names=small_source.class_names[::-1], origin={})
    measures = {
        "evaluate": zoo.evaluate,
        "gates": zoo.gates,
        "lesion": zoo.lesion,
        "report": zoo.write_report,
        "gradients": lambda run, data: gradients.compare([str(run.path)], data),
        "weights": lambda run, data: zoo.evaluate("highway_mlp", data, weights="digits"),
    }
    for name, measure in measures.items():
        for data, said in ((others, "aardvark, bee"), (turned, "9, 8, 7")):
            with pytest.raises(ValueError, match=rf"has learnt: 0, 1, .*\. Received: {data.name}, with {said}"):
                measure(run, data)
                pytest.fail(name)


def test_numbered_classes_have_no_names_to_compare(small_source, tmp_path):
    animals = ("aardvark", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay")
    named = replace(small_source, name="animals", class_names=animals, origin={})
    run = zoo.train("plain_mlp_digits", named, tmp_path / "run", epochs=1)
    assert zoo.evaluate(run, small_source)["examples"] == 50


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
