"""The weights that a run ends with: those of its best epoch; early stopping; and the weights of classes in the loss."""

import csv
import os
import signal
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

import zoo
from tests.processes import start_script
from zoo.tasks.task import Figure
from zoo.training.best import best_row, is_over
from zoo.training.class_weights import Weighted, balanced

pytestmark = pytest.mark.usefixtures("no_report")
# The rate is far too high at the end, so the last epochs are worse.
WORSE = {
    "recipe": "plain_mlp_digits",
    "arguments.depth": 4,
    "epochs": 6,
    "batch_size": 64,
    "validation": 0.3,
    "optimizer.lr": 3.0,
    "optimizer.clip_norm": 1.0,
    "schedule.kind": "constant",
    "schedule.warmup": 0.6,
}


class Snapshots(keras.callbacks.Callback):
    """Copies the weights after each epoch."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append([keras.ops.convert_to_numpy(v) for v in self.model.weights])


def rows_of(run):
    with (run.path / "history.csv").open() as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.fixture(scope="module")
def best(small_source, tmp_path_factory):
    snapshots = Snapshots()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoo.training.loop.write_report", lambda *ignored: None)
        out = tmp_path_factory.mktemp("best") / "run"
        return zoo.train(**WORSE, data=small_source, out=out, keep="best", callbacks=[snapshots]), snapshots.weights


def test_the_weights_of_the_best_epoch_are_kept_and_measured(best, small_source):
    run, weights = best
    rows = rows_of(run)
    accuracies = [row["validation_accuracy"] for row in rows]
    epoch = run.results["best_epoch"]
    assert accuracies[epoch - 1] == max(accuracies) > accuracies[-1]
    assert epoch < len(rows) == 6
    assert same(zoo.load(run.path).get_weights(), weights[epoch - 1])
    assert not same(weights[epoch - 1], weights[-1])
    assert run.results["validation_accuracy"] == max(accuracies)
    assert run.results["test_accuracy"] == pytest.approx(zoo.evaluate(run, small_source)["accuracy"])


def test_the_last_epoch_is_kept_by_default(best, small_source, tmp_path):
    _, weights = best
    run = zoo.train(**WORSE, data=small_source, out=tmp_path / "run")
    assert same(zoo.load(run.path).get_weights(), weights[-1])
    assert "best_epoch" not in run.results


def test_patience_ends_the_training(best, small_source, tmp_path):
    whole, weights = best
    epoch = whole.results["best_epoch"]
    run = zoo.train(**WORSE, data=small_source, out=tmp_path / "run", keep="best", patience=1)
    shown = rows_of(run)
    accuracies = [(row["validation_accuracy"], -row["validation_loss"]) for row in shown]
    assert accuracies[-1] <= max(accuracies[:-1]) and accuracies[:-1] == sorted(accuracies[:-1])
    assert run.epochs_done == len(shown) < 6 and run.status == "complete"
    assert epoch >= run.results["best_epoch"] == len(shown) - 1
    assert same(zoo.load(run.path).get_weights(), weights[len(shown) - 2])


def test_patience_compares_evaluations(small_source, tmp_path):
    settings = WORSE | {"epochs": 12, "evaluate_every": 3, "optimizer.lr": 1e-12, "keep": "best", "patience": 2}
    run = zoo.train(**settings, data=small_source, out=tmp_path / "run")
    assert ["validation_accuracy" in row for row in rows_of(run)] == [False, False, True, False, False, True]
    assert (run.status, run.results["best_epoch"]) == ("complete", 3)


SCRIPT = '''"""Trains, and kills itself in an epoch; or resumes."""

import os
import signal
import sys
from pathlib import Path

import keras

import zoo
from zoo.training import loop

loop.write_report = lambda *ignored: None


class Die(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)


if Path(sys.argv[1]).exists():
    zoo.resume(sys.argv[1], callbacks=[Die()])
else:
    zoo.train(data="digits", out=sys.argv[1], keep="best", patience=3, callbacks=[Die()], **SETTINGS)
'''


def test_the_best_weights_survive_being_killed_again_and_again(tmp_path):
    whole = zoo.train(**WORSE, data="digits", out=tmp_path / "whole", keep="best", patience=3)
    killed = tmp_path / "killed.py"
    killed.write_text(SCRIPT.replace("SETTINGS", repr(WORSE)))
    last = whole.epochs_done - 1
    assert whole.results["best_epoch"] <= last
    for epoch in (1, last):
        done = start_script(killed, tmp_path / "run", epoch, cwd=tmp_path, **os.environ).wait()
        assert done.returncode == -signal.SIGKILL, done.stderr
    run = zoo.resume(tmp_path / "run")
    assert same(*(zoo.load(one.path).get_weights() for one in (whole, run)))
    assert run.results["best_epoch"] == whole.results["best_epoch"] and run.epochs_done == whole.epochs_done


def test_a_run_that_was_over_when_it_was_stopped_trains_no_more(small_source, tmp_path, monkeypatch):
    settings = WORSE | {"data": small_source, "keep": "best", "patience": 1}
    whole = zoo.train(**settings, out=tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr("zoo.training.loop.save_network", lambda *ignored: (_ for _ in ()).throw(RuntimeError()))
        zoo.train(**settings, out=tmp_path / "run")
    run = zoo.resume(tmp_path / "run", small_source)
    assert run.epochs_done == whole.epochs_done < 6
    assert same(*(zoo.load(one.path).get_weights() for one in (whole, run)))


def test_averages_are_kept_as_they_were_measured(small_source, tmp_path):
    settings = WORSE | {"data": small_source, "optimizer.ema": 0.5}
    run = zoo.train(**settings, out=tmp_path / "run", keep="best")
    measured = zoo.evaluate(run, run_source(small_source))
    row = rows_of(run)[run.results["best_epoch"] - 1]
    assert measured["loss"] == pytest.approx(row["validation_loss"], rel=1e-5)


def run_source(source):
    """The source with its validation part in place of its test part."""
    split = source.with_validation(WORSE["validation"], seed=0)
    return replace(split, test_inputs=split.validation_inputs, test_targets=split.validation_targets)


@pytest.mark.parametrize("settings", [{"keep": "best"}, {"patience": 2}])
def test_without_a_validation_part_there_is_no_best_epoch(settings, small_source, tmp_path):
    with pytest.raises(ValueError, match="Expected data with a validation part, or validation=0.1"):
        zoo.train("plain_mlp_digits", small_source, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_the_best_epoch_of_a_regression_has_the_highest_r2(small_source, tmp_path):
    inputs = {name: getattr(small_source, name) for name in ("train_inputs", "test_inputs", "preprocessing")}
    totals = {
        f"{part}_targets": getattr(small_source, f"{part}_inputs").sum(axis=(1, 2)).astype("float32")
        for part in ("train", "test")
    }
    source = zoo.Source("ink", **inputs, **totals, class_names=(), task="regression", target_names=("ink",))
    run = zoo.train("plain_mlp", source, tmp_path / "run", epochs=3, batch_size=32, validation=0.3, keep="best")
    assert run.recipe.name == "plain_mlp_few"
    r2 = [row["validation_r2"] for row in rows_of(run)]
    assert run.results["validation_r2"] == max(r2) == r2[run.results["best_epoch"] - 1]
    tuned = zoo.train(
        "plain_mlp", source, tmp_path / "tuned", weights=run, epochs=1, validation=0.3, **{"optimizer.lr": 1e-9}
    )
    assert tuned.results["test_r2"] == pytest.approx(run.results["test_r2"], abs=1e-3)
    with pytest.raises(ValueError, match="Expected a classification for class_weight='balanced'"):
        zoo.train("plain_mlp", source, tmp_path / "not", class_weight="balanced")


def test_of_equal_accuracies_the_lower_loss_is_better_and_the_first_of_equals():
    figures = [(0.5, 1.0), (0.7, 0.9), (0.7, 0.8), (0.7, 0.8), (0.6, 0.1)]
    rows = [{"epoch": n, "validation_accuracy": a, "validation_loss": x} for n, (a, x) in enumerate(figures, 1)]
    rows.insert(1, {"epoch": 1.5})
    figure = Figure("accuracy", "accuracy")
    assert best_row(rows, figure)["epoch"] == 3
    assert [is_over(rows, patience, figure) for patience in (0, 1, 2, 3)] == [False, True, True, False]
    assert best_row([{"epoch": 1}], figure) is None and not is_over([{"epoch": 9}], 1, figure)
    assert best_row(rows, replace(figure, higher_is_better=False))["epoch"] == 1


def test_balanced_weights_are_those_of_scikit_learn():
    targets = np.random.default_rng(0).choice(5, 1000, p=[0.5, 0.2, 0.15, 0.1, 0.05])
    expected = compute_class_weight("balanced", classes=np.arange(5), y=targets)
    pixels, one = np.zeros((1000, 2, 2, 1), "uint8"), zoo.Preprocessing(1.0, (0.0,), (1.0,))
    source = zoo.Source("five", pixels, targets, pixels, targets, tuple("01234"), one)
    np.testing.assert_allclose(balanced(source), expected, rtol=1e-6)
    # A class without examples changes no other.
    np.testing.assert_allclose(balanced(replace(source, class_names=tuple("012345"))), [*expected, 0], rtol=1e-6)


def test_the_loss_of_an_example_counts_as_its_class_does():
    rng = np.random.default_rng(0)
    weights = np.array([0.5, 2.0, 3.0], "float32")
    labels = np.array([[1, 0, 0], [0, 0, 1], [0.25, 0.75, 0]], "float32")
    logits = rng.normal(size=(3, 3)).astype("float32")
    smooth = labels * 0.9 + 0.1 / 3
    each = -(smooth * (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))).sum(axis=1)
    expected = np.mean(each * [0.5, 3.0, 0.25 * 0.5 + 0.75 * 2.0])
    loss = Weighted(keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1), weights)
    assert float(loss(labels, logits)) == pytest.approx(expected, rel=1e-5)


def test_rare_classes_are_found_more_often_with_class_weights(tmp_path):
    """Nine tenths of the digits 1 to 9 are gone, and the network sees their classes through their weights."""
    digits = zoo.load_source("digits")
    rare = np.flatnonzero(digits.train_targets != 0)[::10]
    kept = np.sort(np.concatenate([np.flatnonzero(digits.train_targets == 0), rare]))
    few = replace(digits, train_inputs=digits.train_inputs[kept], train_targets=digits.train_targets[kept])
    runs = [
        zoo.train("plain_mlp_digits", few, tmp_path / str(wanted), epochs=8, class_weight=wanted)
        for wanted in (None, "balanced")
    ]
    recalls = []
    for run in runs:
        logits = zoo.load(run.path).predict(digits.preprocessing(digits.test_inputs), verbose=0)
        hits = logits.argmax(axis=1) == digits.test_targets
        recalls.append(hits[digits.test_targets != 0].mean())
    assert recalls[1] > recalls[0] + 0.1
    assert Path(runs[1].path / "run.json").read_text().count('"class_weight": "balanced"') == 2
