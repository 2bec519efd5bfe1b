"""A batch in parts: the step is that of the whole batch, on one device and on several, and a run can be resumed."""

from dataclasses import replace

import keras
import numpy as np
import pytest

import zoo
from tests.processes import keras_skip, run_code
from tests.sweep import sweep
from zoo.devices.padding import PaddedBatches
from zoo.training.learner import make_learner

pytestmark = pytest.mark.usefixtures("no_report")
# Sums in another order differ in the last bits; a part that is left out or weighs wrong by more than 1e-2.
TOLERANCE = 1e-5
# 200 examples: the last batch has 8, so one of its three parts has a copy.
BATCHES = {"epochs": 2, "batch_size": 48, "augment.mixup": 0.4}


def normalized():
    """A network with layer normalisation."""
    x = keras.Input((8, 8, 1))
    y = keras.layers.LayerNormalization()(keras.layers.Dense(16, "relu")(keras.layers.Flatten()(x)))
    return keras.Model(x, keras.layers.Dense(10)(y), name="normalized")


SETTINGS = {
    "sgd": {"optimizer.clip_norm": 0.5, "optimizer.ema": 0.9},
    "lamb": {"optimizer.kind": "lamb", "optimizer.lr": 0.01, "loss": "binary", "class_weight": "balanced"},
    "lookahead": {"optimizer.lookahead": 3, "optimizer.rates": {"*kernel": 0.5}, "schedule.kind": "step"},
}


PAIRS = [(kind, settings) for kind in ("highway_mlp", "layer normalisation") for settings in SETTINGS]
IN_SHORT = [("layer normalisation", "sgd"), ("highway_mlp", "lamb"), ("layer normalisation", "lookahead")]


@pytest.mark.parametrize("pair", sweep(PAIRS, IN_SHORT), ids=" ".join)
def test_parts_give_the_weights_of_whole_batches(pair, small_source, tmp_path):
    own, settings = pair[0] == "layer normalisation", SETTINGS[pair[1]]
    keras.utils.set_random_seed(0)
    network = {"model": normalized()} if own else {"arguments.depth": 3}
    runs = [
        zoo.train("highway_mlp_digits", small_source, tmp_path / str(k), accumulate=k, **network, **BATCHES, **settings)
        for k in (1, 3)
    ]
    whole, parts = (zoo.load(run.path).get_weights() for run in runs)
    assert max(np.abs(a - b).max() for a, b in zip(whole, parts, strict=True)) < TOLERANCE
    initial = max(np.abs(a - b).max() for a, b in zip(whole, normalized().get_weights(), strict=False)) if own else 1
    assert initial > 100 * TOLERANCE
    assert runs[1].results["test_loss"] == pytest.approx(runs[0].results["test_loss"], abs=TOLERANCE)
    assert runs[1].recipe.batch_size == 48


def learner_of(model, **settings):
    recipe = zoo.get_recipe("plain_mlp_digits").changed(settings)
    return make_learner(model, recipe, 10, zoo.load_source("digits"))[0]


def test_batch_normalisation_sees_the_parts():
    """Part j of k has every k-th example; the moving average moves k times, and the gradient is the mean of theirs."""
    x = np.random.default_rng(0).normal(2, 3, (8, 4)).astype("float32")
    labels = np.eye(10, dtype="float32")[np.arange(8)]
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.BatchNormalization(momentum=0.9)(inputs)))
    learner = learner_of(model, accumulate=2, **{"optimizer.momentum": 0.0, "optimizer.nesterov": False})
    normalization, dense = model.layers[1:]
    kernel = keras.ops.convert_to_numpy(dense.kernel).copy()
    losses = learner.train_on_batch(x, labels, np.ones(8, "float32"))
    mean, step, loss = np.zeros(4), np.zeros((4, 10)), 0.0
    for part in (slice(0, None, 2), slice(1, None, 2)):
        mean = 0.9 * mean + 0.1 * x[part].mean(axis=0)
        seen = (x[part] - x[part].mean(axis=0)) / np.sqrt(x[part].var(axis=0) + 1e-3)
        odds = np.exp(seen @ kernel)
        given = odds / odds.sum(axis=1, keepdims=True)
        step += seen.T @ (given - labels[part]) / 8
        loss -= (labels[part] * np.log(given)).sum() / 8
    np.testing.assert_allclose(keras.ops.convert_to_numpy(normalization.moving_mean), mean, rtol=1e-5)
    rate = float(learner.optimizer._learning_rate(0))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(dense.kernel), kernel - rate * step, rtol=1e-4, atol=1e-6)
    assert float(losses[0]) == pytest.approx(loss, rel=1e-5)


def test_random_numbers_differ_from_part_to_part():
    """Parts that are dropped out alike would give the update of one part: here a sum of distinct masks."""
    inputs = keras.Input((64,))
    model = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Dropout(0.5, seed=3)(inputs)))
    learner = learner_of(model, accumulate=2, **{"optimizer.momentum": 0.0, "optimizer.nesterov": False})
    before = keras.ops.convert_to_numpy(model.layers[-1].kernel).copy()
    learner.train_on_batch(np.ones((2, 64), "float32"), np.eye(10, dtype="float32")[[0, 0]], np.ones(2, "float32"))
    step = keras.ops.convert_to_numpy(model.layers[-1].kernel) - before
    levels = np.unique(np.round(np.abs(step[:, 0]) / np.abs(step[:, 0]).max(), 1))
    assert len(levels) > 2


def test_figures_of_an_epoch_are_those_of_its_examples():
    inputs = keras.Input((10,))
    model = keras.Model(inputs, keras.layers.Dense(10, use_bias=False)(inputs))
    model.layers[-1].kernel.assign(np.diag([5.0] * 2 + [2.0] * 8))
    learner = learner_of(model, accumulate=2, **{"optimizer.lr": 1e-9})
    labels = np.eye(10, dtype="float32")[:8]
    batches = ((batch, batch, np.ones(len(batch), "float32")) for batch in (labels[:2], labels[2:]))
    found = learner.fit(batches, steps_per_epoch=2, verbose=0).history
    losses = [np.log(np.exp(scale) + 9) - scale for scale in [5] * 2 + [2] * 6]
    assert found["accuracy"] == [1]
    assert found["loss"] == [pytest.approx(np.mean(losses), rel=1e-5)]


def test_last_batch_of_an_epoch_weighs_as_much_as_its_examples(small_source):
    inputs, targets = small_source.train_inputs[:29], small_source.train_targets[:29]
    batches = zoo.Batches(inputs, targets, 10, small_source.preprocessing, 24, seed=0)
    _, (_, labels, weights) = PaddedBatches(batches, 2 * 4)
    assert len(labels) == 8
    np.testing.assert_allclose(weights, [8 / 5] * 5 + [0] * 3)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"accumulate": 3, "batch_size": 64}, "to be a multiple of accumulate=3. Received: batch_size=64"),
        ({"accumulate": 0}, "Expected accumulate to be a positive integer"),
    ],
)
def test_parts_that_do_not_fit_are_refused_before_anything_is_written(settings, said, small_source, tmp_path):
    with pytest.raises(ValueError, match=said):
        zoo.train("plain_mlp_digits", small_source, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


# The names are runs: whole batches on one device; three parts of them on two devices, stopped in the middle of an epoch
# and resumed; three parts on one device; and the same, stopped and resumed.
SEVERAL = """
import dataclasses
import sys

import keras
import numpy as np

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import zoo
from zoo.devices.selection import select
from zoo.training import loop

loop.write_report = lambda *ignored: None

class Stop(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if zoo.open_run(self.name).epochs_done == 1 and batch == 2:
            raise KeyboardInterrupt

source = zoo.load_source("digits")
some = {"train_inputs": source.train_inputs[:200], "train_targets": source.train_targets[:200]}
source = dataclasses.replace(source, **some)
settings = {"epochs": 2, "batch_size": 48, "optimizer.kind": "lamb", "optimizer.lr": 0.01, "arguments.depth": 3}
weights, runs = {}, {"whole": (1, 1), "parts": (2, 3), "one": (1, 3), "one resumed": (1, 3)}
for name in sys.argv[1:]:
    devices, parts = runs[name]
    stop = Stop()
    stop.name = name
    stops = {"checkpoint_steps": 2, "callbacks": [stop]} if name in ("parts", "one resumed") else {}
    devices = select("cpu", devices)
    try:
        zoo.train("highway_mlp_digits", source, name, devices=devices, accumulate=parts, **stops, **settings)
    except KeyboardInterrupt:
        zoo.resume(name, source)
        assert zoo.open_run(name).record["resumed"][0]["batch"] == 2
    weights[name] = zoo.load(name).get_weights()

def difference(one, two):
    return max(float(np.abs(a - b).max()) for a, b in zip(weights[one], weights[two], strict=True))

for one, two in (("whole", "parts"), ("whole", "one"), ("one", "one resumed")):
    if {one, two} <= {*weights}:
        print(difference(one, two))
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_several_devices_take_parts_and_go_on_in_the_middle_of_an_epoch(backend, tmp_path):
    told = run_code(SEVERAL, "whole", "parts", cwd=tmp_path, KERAS_BACKEND=backend, JAX_NUM_CPU_DEVICES="2")
    assert float(told.split()[-1]) < TOLERANCE


@pytest.mark.parametrize("backend", sweep(["tensorflow", "jax"], {"jax"}))
def test_one_device_takes_parts_and_goes_on_to_the_same_bit(backend, tmp_path):
    told = run_code(SEVERAL, "whole", "one", "one resumed", cwd=tmp_path, KERAS_BACKEND=backend)
    alone, resumed = map(float, told.split()[-2:])
    assert alone < TOLERANCE
    assert resumed == 0


def test_a_batch_in_parts_from_the_shell(tmp_path):
    options = "--epochs", 1, "--batch-size", 96, "--set", "accumulate=4", "--set", "arguments.depth=3"
    done = keras_skip("train", "plain_mlp_digits", *options, "--precision", "auto", "--out", "run", cwd=tmp_path)
    assert "test accuracy" in done.stdout
    assert zoo.open_run(tmp_path / "run").recipe.accumulate == 4


@pytest.mark.parametrize("precision", sweep(["mixed_float16", "mixed_bfloat16"], {"mixed_float16"}))
def test_half_precision_takes_parts(precision, small_source, tmp_path):
    """With batch normalisation and dropout, whose state moves from part to part, and the loss scale of float16."""
    network = {"network": "wrn_16_2", "arguments": {"depth": 10, "width": 1, "dropout": 0.3}}
    source = replace(
        small_source, train_inputs=small_source.train_inputs[:64], train_targets=small_source.train_targets[:64]
    )
    settings = {"epochs": 1, "batch_size": 32, "accumulate": 4, "precision": precision}
    run = zoo.train("resnet20_digits", source, tmp_path / "run", **network, **settings)
    assert np.isfinite(run.results["test_loss"])
