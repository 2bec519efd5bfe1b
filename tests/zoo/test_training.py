"""Training in this process: how it learns, what it repeats, what it refuses, and how it fails."""

import csv
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import zoo
from tests.zoo.small_runs import OPTIONS
from zoo.data import Batches
from zoo.devices.selection import select
from zoo.training.callbacks import check_intervals
from zoo.training.loop import Training

KINDS = ("plain", "residual", "highway", "dense")
pytestmark = pytest.mark.usefixtures("no_report")


def test_same_seed_gives_the_same_network(run, small_source, tmp_path):
    again = zoo.train("plain_mlp_digits", small_source, tmp_path / "again", **OPTIONS)
    other = zoo.train("plain_mlp_digits", small_source, tmp_path / "other", seed=1, **OPTIONS)
    weights = [zoo.load(one.path).get_weights() for one in (run, again, other)]
    assert all(np.array_equal(a, b) for a, b in zip(weights[0], weights[1], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(weights[0], weights[2], strict=True))


def test_weights_start_from_the_seed_of_the_recipe(small_source, tmp_path):
    recipe = zoo.get_recipe("plain_mlp_digits")
    zero, one, again = (
        Training(tmp_path, recipe.changed({"seed": seed}), small_source, select()).model.get_weights()
        for seed in (0, 1, 1)
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not np.array_equal(zero[0], one[0])


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
    run = zoo.train(f"{kind}_mlp_digits", out=tmp_path / "run", epochs=6, **{"arguments.depth": 4})
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


def test_gradients_are_measured_on_one_device():
    with pytest.raises(ValueError, match="Expected one device for gradients. Received: gradients=5, 2 devices"):
        check_intervals(10, None, 5, SimpleNamespace(count=2))
    check_intervals(10, None, 5, SimpleNamespace(count=1))
    check_intervals(10, None, None, SimpleNamespace(count=2))


def test_loss_that_is_not_finite_fails_the_run(small_source, tmp_path):
    with pytest.raises(zoo.TrainingError, match="Expected a finite loss. Received: loss=(nan|inf)"):
        zoo.train("plain_mlp_digits", small_source, tmp_path / "run", **{"optimizer.lr": 1e30, "schedule.warmup": 0.0})
    run = zoo.open_run(tmp_path / "run")
    assert run.status == "failed"
    assert "finite loss" in run.record["reason"]
    assert not run.model_path.exists()
    with pytest.raises(ValueError, match="Expected a complete run"):
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
