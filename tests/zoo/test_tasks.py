"""Training, resuming, measuring, reporting and exporting for each task, with figures as scikit-learn computes them."""

import csv
import json
import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics
from typer.testing import CliRunner

import export
import zoo
from tests.processes import start_script
from tests.sweep import sweep
from tests.zoo import task_runs
from tests.zoo.task_runs import TASKS, recipe_of, source_of
from zoo.cli import app
from zoo.tasks import TASKS as ALL
from zoo.tasks import task_of
from zoo.tasks.segmentation import IGNORE


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A whole run of each task, with a validation part."""
    folder = tmp_path_factory.mktemp("tasks")
    return {
        task: zoo.train(recipe_of(task), source_of(task), folder / task, checkpoint_steps=2, validation=0.2)
        for task in TASKS
    }


def predict(run, inputs):
    preprocessing = zoo.Preprocessing.from_dict(run.source["preprocessing"])
    return zoo.load(run.path).predict(preprocessing(inputs), verbose=0)


def expected_figures(task, predictions, truth):
    """Those of scikit-learn."""
    if task == "regression":
        return {
            "r2": metrics.r2_score(truth, predictions),
            "mae": metrics.mean_absolute_error(truth, predictions),
            "rmse": metrics.root_mean_squared_error(truth, predictions),
        }
    answers = predictions.argmax(axis=-1)
    if task == "classification":
        return {"accuracy": metrics.accuracy_score(truth, answers)}
    known = truth != IGNORE
    return {
        "mean_iou": metrics.jaccard_score(truth[known], answers[known], average="macro"),
        "accuracy": metrics.accuracy_score(truth[known], answers[known]),
    }


def expected_loss(task, predictions, truth, source):
    if task == "regression":
        return np.mean(((predictions - truth) / source.train_targets.std(axis=0)) ** 2)
    known = truth != IGNORE if task == "segmentation" else slice(None)
    exponents = np.exp(predictions[known].astype("float64"))
    return metrics.log_loss(truth[known], exponents / exponents.sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("task", TASKS)
def test_results_are_those_of_scikit_learn(runs, task):
    run, source = runs[task], source_of(task).with_validation(0.2, seed=0)
    for part in source.parts:
        truth = getattr(source, f"{part}_targets")
        predictions = predict(run, getattr(source, f"{part}_inputs"))
        for name, value in expected_figures(task, predictions, truth).items():
            assert run.results[f"{part}_{name}"] == pytest.approx(value, rel=1e-4), (part, name)
        if part != "train":
            wanted = expected_loss(task, predictions, truth, source)
            assert run.results[f"{part}_loss"] == pytest.approx(wanted, rel=1e-4)
    with (run.path / "history.csv").open() as file:
        *_, last = csv.DictReader(file)
    assert float(last["validation_loss"]) == run.results["validation_loss"]
    figures = zoo.evaluate(run, source)
    assert figures["examples"] == len(source.test_inputs)
    for name, value in figures.items():
        assert name == "examples" or value == pytest.approx(run.results[f"test_{name}"], rel=1e-5)


def test_networks_learn(runs):
    assert runs["classification"].results["test_accuracy"] > 0.9
    assert runs["regression"].results["test_r2"] > 0.3
    assert runs["segmentation"].results["test_mean_iou"] > 0.8


@pytest.mark.parametrize("task", sweep(TASKS, {"segmentation"}))
def test_run_that_was_killed_ends_as_if_nothing_had_happened(runs, task, tmp_path):
    folder = tmp_path / "run"
    done = start_script(Path(task_runs.__file__), folder, task, cwd=tmp_path, **os.environ).wait()
    assert done.returncode == -signal.SIGKILL, done.stderr
    run = zoo.resume(folder, source_of(task))
    assert [(again["epoch"], again["batch"]) for again in run.record["resumed"]] == [(1, 2)]
    pairs = zip(zoo.load(run.path).get_weights(), zoo.load(runs[task].path).get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    timeless = [{k: v for k, v in r.results.items() if "second" not in k} for r in (run, runs[task])]
    assert timeless[0] == timeless[1]


def test_predictions_of_a_regression_have_the_units_of_the_targets(runs):
    model = zoo.load(runs["regression"].path)
    targets = source_of("regression").with_validation(0.2, seed=0).train_targets
    last = model.layers[-1]
    np.testing.assert_allclose(last.scale, targets.std(axis=0), rtol=1e-5)
    np.testing.assert_allclose(last.offset, targets.mean(axis=0), rtol=1e-5)


def test_network_of_a_table_is_fitted_to_its_training_rows(runs):
    """The mean of its numbers, without the missing ones; the category has an embedding of two and unknown ones."""
    model = zoo.load(runs["classification"].path)
    rows = source_of("classification").with_validation(0.2, seed=0).train_inputs
    np.testing.assert_allclose(np.ravel(model.get_layer("scaling").mean), np.nanmean(rows[:, :-1], axis=0), rtol=1e-5)
    assert model.get_layer("embedding1").embeddings.shape[0] == 3


@pytest.mark.parametrize("task", TASKS)
def test_report_says_the_figures_of_the_task(runs, task):
    page = (runs[task].path / "report.html").read_text()
    texts = re.findall(r">([^<>]+)<", page)
    for figure in task_of(task).figures:
        assert f"test {figure.title}" in texts
        assert figure.text(runs[task].results[f"test_{figure.name}"]) in texts
    source = source_of(task)
    wanted = {
        "classification": {"Confusions", *source.class_names},
        "regression": {"Targets", "Largest errors", *source.target_names},
        "segmentation": {"Classes", "Worst images", *source.class_names},
    }
    assert wanted[task] <= set(texts)


def test_report_of_a_segmentation_counts_the_pixels_that_are_known(runs):
    from zoo.reports.page._masks import confusion_matrix

    source = source_of("segmentation")
    answers = predict(runs["segmentation"], source.test_inputs).argmax(axis=-1).astype("uint8")
    known = source.test_targets != IGNORE
    wanted = metrics.confusion_matrix(source.test_targets[known], answers[known])
    np.testing.assert_array_equal(confusion_matrix(answers, source), wanted)


@pytest.mark.parametrize("task", TASKS)
def test_listing_shows_the_figure_that_ranks_runs(runs, task):
    figure = task_of(task).figures[0]
    row = zoo.training.runs.summary(runs[task])
    assert (row["task"], row["figure"], row["test"]) == (task, figure.name, runs[task].results[f"test_{figure.name}"])
    listed = CliRunner().invoke(app, ["runs", str(runs[task].path.parent)], env={"COLUMNS": "300"}).stdout
    assert f"{figure.title}: validation" in listed
    assert f"test {figure.text(row['test'])}" in listed


@pytest.mark.parametrize("task", TASKS)
def test_export_predicts_what_the_network_does(runs, task, monkeypatch):
    run, source = runs[task], source_of(task)
    # The made data have no name to load them by.
    monkeypatch.setattr("zoo.data.sources._read", lambda *ignored: source)
    for module in ("sources", "like"):
        monkeypatch.setattr(f"zoo.data.{module}.find_path", lambda name: None)
    monkeypatch.setattr("zoo.cli.commands.exporting._measure_speed", lambda *ignored: None)
    done = CliRunner().invoke(app, ["export", str(run.path), "--overwrite"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    about = json.loads((run.path / "export" / "artifact.json").read_text())
    assert about["task"] == task
    assert about["labels"] == (None if task == "regression" else list(source.class_names))
    assert about["target_names"] == (["progression", "root"] if task == "regression" else None)
    assert about["table"] == (source.table.to_dict() if task == "classification" else None)
    assert about["inputs"][0]["dtype"] == source.test_inputs.dtype.name
    (answers,) = [export.load(run.path / "export").predict(source.test_inputs)]
    predictions = predict(run, source.test_inputs)
    if task != "regression":
        exponents = np.exp(predictions - predictions.max(axis=-1, keepdims=True))
        predictions = exponents / exponents.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(answers, predictions, rtol=1e-4, atol=1e-4)


REFUSED = {
    "regression": [
        (r"Expected augment.pad=0, augment.flip=False for inputs that are not images .* shape \(10,\)",
         {"augment.pad": 1, "augment.flip": True}),
        ("Expected label_smoothing=0 for regression", {"label_smoothing": 0.1}),
    ],
    "segmentation": [
        ("Expected augment.mixup=0.0 for segmentation, since a mask cannot follow", {"augment.mixup": 0.2}),
        ("Expected augment.rand_ops=0 for segmentation", {"augment.rand_ops": 2}),
        ("Expected label_smoothing=0 for segmentation", {"label_smoothing": 0.1}),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("task", "message", "changes"), [(t, m, c) for t, cases in REFUSED.items() for m, c in cases])
def test_settings_that_a_task_does_not_have_are_refused(task, message, changes, tmp_path):
    with pytest.raises(ValueError, match=message):
        zoo.train(recipe_of(task), source_of(task), tmp_path / "run", **changes)
    assert not (tmp_path / "run" / "run.json").exists()


def test_data_of_another_task_or_target_are_refused(runs):
    other = replace(source_of("regression"), target_names=("price", "root"), name="prices")
    with pytest.raises(
        ValueError, match="regression of progression, root that .* prices, for a regression of price, root"
    ):
        zoo.evaluate(runs["regression"], other)
    with pytest.raises(ValueError, match="Expected data for the regression .* Received: digits, for a classification"):
        zoo.evaluate(runs["regression"], "digits")
    with pytest.raises(ValueError, match="Expected data for a classification. Received: diabetes, for a regression"):
        zoo.lesion(runs["regression"], source_of("regression"))


def test_images_of_masks_are_mirrored_over_several_views_for_regressions_alone(runs):
    with pytest.raises(ValueError, match="from images to logits"):
        zoo.evaluate(runs["segmentation"], source_of("segmentation"), tta="mirror")


def test_gradients_are_recorded_for_a_regression(tmp_path, no_report):
    run = zoo.train(recipe_of("regression"), source_of("regression"), tmp_path / "run", epochs=1, gradients=5)
    norms = zoo.gradients.read(run.path / "gradients.csv")
    assert {norm.step for norm in norms} == {0, 5, 10}
    assert all(norm.norm > 0 for norm in norms)


def test_every_task_has_the_whole_interface():
    for name, task in ALL.items():
        assert task.name == name
        assert len({figure.name for figure in task.figures}) == len(task.figures)
    with pytest.raises(ValueError, match="Expected task to be one of .* Did you mean regression"):
        task_of("regresion")
