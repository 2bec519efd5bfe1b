"""Whole runs with the settings for few epochs: they resume to the same bit, and the saved network is like any other."""

import csv
import json
from dataclasses import replace

import keras
import numpy as np
import pytest

import zoo
from tests.processes import run_code
from tests.sweep import sweep
from zoo.devices.selection import select
from zoo.training import comparison
from zoo.training.learner import allow_sizes
from zoo.training.loop import Training

# Two stops: between two steps of lookahead in the smaller size, and in the larger one.
RESUME = """
import csv
import dataclasses

import keras
import numpy as np

import zoo
from zoo.training import loop

def build_network(recipe, source):
    x = image = keras.Input((8, 8, 1), name="image")
    for index, (filters, side) in enumerate([(8, 2), (16, 3)]):
        regularizer = keras.regularizers.L2(recipe.optimizer.weight_decay / 2)
        x = keras.layers.Conv2D(filters, side, kernel_regularizer=regularizer, name=f"conv{index}")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.GlobalMaxPooling2D()(keras.layers.Activation("relu")(x))
    return keras.Model(image, keras.layers.Dense(10, dtype="float32", name="head")(x))

class Stop(keras.callbacks.Callback):
    def __init__(self, epoch, batch):
        super().__init__()
        self.moment = epoch, batch

    def on_epoch_begin(self, epoch, logs=None):
        # What is left of an epoch is counted from 0 again.
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.moment:
            raise KeyboardInterrupt

def attempt(action):
    try:
        action()
    except KeyboardInterrupt:
        return
    raise AssertionError("not stopped")

def history(name):
    with open(f"{name}/history.csv") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]

loop.build_network = build_network
loop.write_report = lambda *ignored: None
digits = zoo.load_source("digits")
names = [f"{part}_{kind}" for part in digits.parts for kind in ("inputs", "targets")]
some = {name: getattr(digits, name)[:200] for name in names}
source = dataclasses.replace(digits, **some)
settings = {
    "epochs": 4,
    "batch_size": 64,
    "precision": "mixed_bfloat16",
    "evaluate_every": 3,
    "initialization": ("dirac", "whitening"),
    "checkpoint_steps": 1,
    "optimizer.lr": 0.01,
    "optimizer.rates": {"*/beta": 8.0, "*/gamma": 0.0},
    "optimizer.decoupled": True,
    "optimizer.weight_decay": 0.1,
    "optimizer.lookahead": 4,
    "augment.flip": "alternating",
    "augment.sizes": ((0.0, 6), (0.5, 8)),
}
zoo.train("resnet20_digits", source, "whole", **settings)
attempt(lambda: zoo.train("resnet20_digits", source, "run", callbacks=[Stop(1, 1)], **settings))
keras.utils.set_random_seed(9)
attempt(lambda: zoo.resume("run", source, callbacks=[Stop(2, 2)]))
zoo.resume("run", source)
whole, run = (zoo.load(name) for name in ("whole", "run"))
assert all(np.array_equal(a, b) for a, b in zip(whole.get_weights(), run.get_weights(), strict=True))
assert history("whole") == history("run")
# The same as the results of the run, and with the frozen weights.
print(zoo.evaluate("run", source)["loss"])
assert all(v.trainable for v in run.trainable_variables)
np.testing.assert_array_equal(run.get_layer("norm").gamma, np.ones(16))
kernel = keras.ops.convert_to_numpy(run.get_layer("conv0").kernel)
np.testing.assert_array_equal(kernel[..., 4:], -kernel[..., :4])
assert len(run.trainable_variables) == 8
"""


# test_finetuning.py resumes a run with other settings on JAX.
@pytest.mark.parametrize("backend", sweep(["tensorflow", "jax"], {"tensorflow"}))
def test_all_settings_together_resume_to_the_same_bit(backend, tmp_path):
    loss = float(run_code(RESUME, cwd=tmp_path, KERAS_BACKEND=backend))
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [(r["epoch"], r["batch"]) for r in record["resumed"]] == [(1, 2), (2, 3)]
    assert record["results"]["test_loss"] == pytest.approx(loss, rel=1e-2)
    # 8 x (4 + 1), 16 x (72 + 1), two of 16, 10 x (16 + 1), the frozen ones included.
    assert record["results"]["parameters"] == 40 + 16 * 73 + 32 + 170
    recipe = record["recipe"]
    assert recipe["initialization"] == ["dirac", "whitening"]
    assert recipe["optimizer"]["rates"] == {"*/beta": 8.0, "*/gamma": 0.0}
    assert recipe["augment"]["sizes"] == [[0.0, 6], [0.5, 8]]


def test_slow_weights_are_what_is_measured_and_saved(small_source, tmp_path, no_report):
    settings = {"epochs": 2, "batch_size": 64, "arguments.depth": 3}
    plain = zoo.train("plain_mlp_digits", small_source, tmp_path / "plain", **settings)
    # The last of eight steps is the only one that reaches the slow weights.
    run = zoo.train("plain_mlp_digits", small_source, tmp_path / "run", **settings, **{"optimizer.lookahead": 8})
    start = Training(tmp_path, plain.recipe, small_source, select()).model.get_weights()
    d = 0.95**8
    expected = [d * a + (1 - d) * b for a, b in zip(start, zoo.load(plain.path).get_weights(), strict=True)]
    for found, value in zip(zoo.load(run.path).get_weights(), expected, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-4, atol=1e-6)
    assert zoo.evaluate(run, small_source)["loss"] == pytest.approx(run.results["test_loss"], rel=1e-5)


EVALUATED = {1: [1, 2, 3, 4, 5], 2: [2, 4, 5], 9: [5]}


@pytest.mark.parametrize("every", sweep(EVALUATED, lambda every: every != 1))
def test_evaluation_every_so_many_epochs_and_after_the_last(every, small_source, tmp_path, no_report):
    settings = {"epochs": 5, "evaluate_every": every, "arguments.depth": 3}
    run = zoo.train("plain_mlp_digits", small_source, tmp_path / "run", **settings)
    with (run.path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5]
    assert [int(row["epoch"]) for row in rows if row["test_accuracy"]] == EVALUATED[every]
    assert float(rows[-1]["test_loss"]) == run.results["test_loss"]


def test_epochs_without_an_evaluation_are_in_report_and_comparison(small_source, tmp_path):
    settings = {"epochs": 3, "evaluate_every": 2, "recipe": "plain_mlp_digits"}
    runs = zoo.compare(["plain_mlp:depth=3"], tmp_path / "runs", small_source, seeds=1, **settings)
    ((run,),) = runs.values()
    assert (run.path / "report.html").is_file()
    assert [("test_accuracy" in row) for row in comparison.rows(runs)] == [False, True, True]
    with (tmp_path / "runs" / "comparison.csv").open() as file:
        assert [bool(row["test_accuracy"]) for row in csv.DictReader(file)] == [False, True, True]
    assert (tmp_path / "runs" / "comparison.svg").is_file()


@pytest.mark.parametrize("last", [1, 3])
def test_a_run_that_ends_in_an_epoch_without_an_evaluation_is_complete(last, small_source, tmp_path):
    class End(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch + 1 == last

    settings = {"epochs": 5, "evaluate_every": 2, "arguments.depth": 3}
    run = zoo.train("plain_mlp_digits", small_source, tmp_path / "run", callbacks=[End()], **settings)
    assert (run.status, run.epochs_done) == ("complete", last)
    page = (run.path / "report.html").read_text()
    assert ("<th scope='col'>test_accuracy</th>" in page) == (last > 1)


def test_models_inside_a_model_take_other_sizes_too():
    image = keras.Input((8, 8, 1))
    body = keras.Model(image, keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image)))
    head = keras.Sequential([keras.Input((4,)), keras.layers.Dense(10)])
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.Sequential([keras.Input((8, 8, 1)), body]), head])
    allow_sizes(model, [(5, 5, 1)])
    assert model(np.zeros((2, 6, 6, 1))).shape == (2, 10)


def test_network_that_needs_its_size_is_refused(small_source, tmp_path):
    with pytest.raises(
        ValueError, match=r"takes images of any size, for augment.sizes. Received: plain_mlp.*\(5, 5, 1\)"
    ):
        zoo.train("plain_mlp_digits", small_source, tmp_path / "run", **{"augment.sizes": ((0.0, 5),)})
    with pytest.raises(ValueError, match=r"at most the height of the images, 8"):
        zoo.train("resnet20_digits", small_source, tmp_path / "run", **{"augment.sizes": ((0.0, 9),)})
    with pytest.raises(ValueError, match=r"Expected lookahead to be at most the 4 steps.* Received: lookahead=5"):
        zoo.train(
            "plain_mlp_digits", small_source, tmp_path / "run", epochs=2, batch_size=128, **{"optimizer.lookahead": 5}
        )
    with pytest.raises(ValueError, match=r"Expected each pattern of optimizer.rates"):
        zoo.train("plain_mlp_digits", small_source, tmp_path / "run", **{"optimizer.rates": {"*/gama": 0.0}})
    assert not (tmp_path / "run").exists()


def test_a_record_that_lacks_a_newer_setting_has_its_default(small_source, tmp_path, no_report):
    """Records from before a setting existed have its default."""
    run = zoo.train("plain_mlp_digits", small_source, tmp_path / "runs" / "one-0", epochs=1, **{"arguments.depth": 3})
    record = run.record | {"recipe": {k: v for k, v in run.record["recipe"].items() if k != "evaluate_every"}}
    assert replace(run, record=record).recipe == run.recipe
    comparison._check_folder(run.path, run.recipe, small_source)
