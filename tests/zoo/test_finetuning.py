"""Runs that start from trained weights: what they start with, what stays frozen, how they resume."""

from dataclasses import replace

import keras
import numpy as np
import pytest

import zoo
from tests.processes import keras_skip, run_code
from tests.sweep import sweep
from zoo.devices.selection import select
from zoo.training.loop import Training

pytestmark = pytest.mark.usefixtures("no_report")
# A network with batch normalisation inside blocks.
DEPTH = 8
SETTINGS = {"recipe": "resnet20", "arguments": {"depth": DEPTH}, "batch_size": 64, "epochs": 2}


@pytest.fixture(scope="module")
def tuned(small_source, tmp_path_factory):
    """Settings of a run that starts from weights in a file, here random ones of a network for ten classes."""
    file = tmp_path_factory.mktemp("weights") / "digits.keras"
    network = zoo.build("resnet20", (8, 8, 1), classes=10, depth=DEPTH)
    for variable in network.weights:
        # No run would start from these by itself.
        variable.assign(variable + 0.1)
    network.save(file)
    return {**SETTINGS, "weights": str(file)}


def starting_values(tuned):
    return values(zoo.load("resnet20", weights=tuned["weights"], depth=DEPTH, classes=3))


@pytest.fixture(scope="module")
def mine(small_source):
    """Digits under another name, so that no recipe was written for them, in three classes."""
    labels = {f"{part}_targets": getattr(small_source, f"{part}_targets") // 4 for part in small_source.parts}
    return replace(small_source, name="mine", class_names=("low", "middle", "high"), **labels)


def values(model):
    return {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.weights}


def changed(before, model):
    return {path for path, value in values(model).items() if not np.array_equal(before[path], value)}


def is_norm(path):
    return path.rpartition("/")[2] in ("gamma", "beta", "moving_mean", "moving_variance")


def test_a_run_starts_from_the_weights_with_a_new_head_and_their_preprocessing(mine, tmp_path):
    other = replace(mine, preprocessing=zoo.Preprocessing(1.0, (5.0,), (2.0,)))
    shipped = {"recipe": "resnet20", "weights": "digits", "batch_size": 64, "epochs": 1, "optimizer.lr": 1e-12}
    run = zoo.train(**shipped, data=other, out=tmp_path / "run")
    assert run.recipe.name == "resnet20_finetune"
    assert run.source["preprocessing"] == zoo.card("resnet20", "digits").preprocessing
    there, found = values(zoo.load("resnet20", weights="digits")), values(zoo.load(run.path))
    assert found["head/kernel"].shape == (64, 3) and there["head/kernel"].shape == (64, 10)
    kernels = [path for path in there if path.endswith("kernel") and not path.startswith("head")]
    assert len(kernels) == 19
    for path in kernels:
        np.testing.assert_allclose(found[path], there[path], atol=1e-7, err_msg=path)


def test_weights_of_a_run_bring_its_preprocessing(mine, tmp_path):
    one = zoo.Preprocessing(1 / 16, (0.25,), (0.5,))
    shallow = {"epochs": 1, "arguments.depth": 3}
    first = zoo.train("plain_mlp_digits", replace(mine, preprocessing=one), tmp_path / "first", **shallow)
    second = zoo.train("plain_mlp", mine, tmp_path / "second", weights=first, **shallow)
    assert second.source["preprocessing"] == one.as_dict() != mine.preprocessing.as_dict()
    assert second.recipe.weights == str(first.path)


def test_frozen_norms_keep_scales_and_statistics_in_the_file_too(mine, tuned, tmp_path):
    run = zoo.train(**tuned, data=mine, out=tmp_path / "run", freeze="norms")
    before = starting_values(tuned)
    model = zoo.load(run.path)
    found = changed(before, model)
    assert not any(map(is_norm, found))
    assert sum(path.endswith("kernel") for path in found) == DEPTH
    # Trained again by Keras alone, they still do not move.
    before = values(model)
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(mine.preprocessing(mine.train_inputs), mine.train_targets, batch_size=64, verbose=0)
    found = changed(before, model)
    assert found and not any(map(is_norm, found))


def test_with_a_frozen_backbone_the_head_alone_is_trained(mine, tuned, tmp_path):
    run = zoo.train(**tuned, data=mine, out=tmp_path / "run", freeze="backbone")
    before = starting_values(tuned)
    assert changed(before, zoo.load(run.path)) == {"head/kernel", "head/bias"}
    assert [v.path for v in zoo.load(run.path).trainable_variables] == ["head/kernel", "head/bias"]


class Watch(keras.callbacks.Callback):
    """Notes after each epoch which variables have changed in it."""

    def __init__(self):
        super().__init__()
        self.changed = []

    def on_epoch_begin(self, epoch, logs=None):
        self.before = values(self.model)

    def on_epoch_end(self, epoch, logs=None):
        self.changed.append(changed(self.before, self.model))


def test_the_backbone_trains_after_the_epochs_that_were_asked_for(mine, tuned, tmp_path):
    settings = tuned | {"epochs": 3, "freeze": "backbone", "unfreeze_after": 2, "optimizer.rates": {"*/gamma": 0.0}}
    watch = Watch()
    run = zoo.train(**settings, data=mine, out=tmp_path / "run", callbacks=[watch])
    first, second, third = watch.changed
    assert first == second == {"head/kernel", "head/bias"}
    norms = DEPTH - 1
    assert sum(map(is_norm, third)) == 3 * norms and sum(path.endswith("kernel") for path in third) == DEPTH
    assert not any(path.endswith("gamma") for path in third)
    assert len(zoo.load(run.path).trainable_variables) == DEPTH + 2 * norms + 1


RESUME = """
import dataclasses
import shutil

import keras
import numpy as np

import zoo
from zoo.training import loop

class Stop(keras.callbacks.Callback):
    def __init__(self, epoch, batch):
        super().__init__()
        self.moment = epoch, batch

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.moment:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        if (epoch, None) == self.moment:
            raise KeyboardInterrupt

def attempt(action):
    try:
        action()
    except KeyboardInterrupt:
        return
    raise AssertionError("not stopped")

loop.write_report = lambda *ignored: None
digits = zoo.load_source("digits")
names = [f"{part}_{kind}" for part in digits.parts for kind in ("inputs", "targets")]
source = dataclasses.replace(digits, **{name: getattr(digits, name)[:200] for name in names})
settings = {
    "weights": "start/model.keras",
    "arguments": {"depth": 8},
    "epochs": 3,
    "batch_size": 64,
    "freeze": "backbone",
    "unfreeze_after": 2,
    "keep": "best",
    "validation": 0.2,
    "class_weight": "balanced",
    "checkpoint_steps": 1,
    "optimizer.ema": 0.5,
    "optimizer.rates": {"head/*": 4.0, "*/gamma": 0.0},
}
zoo.train("resnet20_digits", source, "start", epochs=1, **{"arguments.depth": 8})
zoo.train("resnet20", source, "whole", **settings)
attempt(lambda: zoo.train("resnet20", source, "run", callbacks=[Stop(1, 1)], **settings))
shutil.rmtree("start")
keras.utils.set_random_seed(9)
for moment in ((1, None), (2, 1)):
    attempt(lambda: zoo.resume("run", source, callbacks=[Stop(*moment)]))
zoo.resume("run", source)
whole, run = (zoo.load(name) for name in ("whole", "run"))
assert all(np.array_equal(a, b) for a, b in zip(whole.get_weights(), run.get_weights(), strict=True))
results = [zoo.open_run(name).results for name in ("whole", "run")]
assert {k: v for k, v in results[0].items() if "second" not in k} == {
    k: v for k, v in results[1].items() if "second" not in k
}
print([(r["epoch"], r["batch"]) for r in zoo.open_run("run").record["resumed"]])
"""


# test_few_epochs.py resumes all other settings on TensorFlow.
@pytest.mark.parametrize("backend", sweep(["tensorflow", "jax"], {"jax"}))
def test_a_run_resumes_to_the_same_bit_across_the_unfreezing_without_its_weights(backend, tmp_path):
    """Stopped before, at and after the epoch from which everything trains; the file of the weights is gone."""
    said = run_code(RESUME, cwd=tmp_path, KERAS_BACKEND=backend)
    assert said.splitlines()[-1] == "[(1, 2), (2, 0), (2, 2)]"


def test_a_run_that_was_stopped_before_it_kept_its_start_begins_again(mine, tuned, tmp_path, monkeypatch):
    settings = tuned | {"data": mine, "epochs": 1}
    whole = zoo.train(**settings, out=tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Training, "keep_initial", lambda *ignored: (_ for _ in ()).throw(KeyboardInterrupt()))
        zoo.train(**settings, out=tmp_path / "run")
    run = zoo.resume(tmp_path / "run", mine)
    pairs = zip(*(zoo.load(one.path).get_weights() for one in (whole, run)), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


def test_a_run_without_a_checkpoint_begins_again_from_its_weights(mine, tuned, tmp_path):
    class Fail(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            raise RuntimeError

    settings = tuned | {"data": mine, "epochs": 1, "freeze": "norms"}
    whole = zoo.train(**settings, out=tmp_path / "whole")
    with pytest.raises(RuntimeError):
        zoo.train(**settings, out=tmp_path / "run", callbacks=[Fail()])
    run = zoo.resume(tmp_path / "run", mine)
    pairs = zip(*(zoo.load(one.path).get_weights() for one in (whole, run)), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": "nothing"}, "Expected weights of resnet20 by name"),
        ({"weights": "digits", "freeze": "head"}, "Expected freeze to be one of none, norms, backbone"),
        ({"weights": "digits", "unfreeze_after": 2}, "Expected unfreeze_after to be 0 with freeze='none'"),
        ({"weights": "digits", "initialization": ("dirac",)}, "Expected initialization to be empty with weights="),
    ],
)
def test_settings_that_are_wrong_are_refused_before_the_data_are_read(settings, message, tmp_path, monkeypatch):
    monkeypatch.setattr("zoo.data.load_source", lambda *ignored, **options: pytest.fail("read"))
    with pytest.raises(ValueError, match=message):
        zoo.train("resnet20", "digits", tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_a_backbone_that_would_never_train_is_refused(small_source, tmp_path):
    settings = {"epochs": 2, "freeze": "backbone", "unfreeze_after": 2, "arguments.depth": 8}
    with pytest.raises(ValueError, match="below the run's 2 epochs. Received: unfreeze_after=2"):
        zoo.train("resnet20", small_source, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_a_network_without_normalisation_has_none_to_freeze(small_source, tmp_path):
    recipe = zoo.get_recipe("plain_mlp_digits").changed(freeze="norms")
    with pytest.raises(ValueError, match="Expected a network with layers to freeze. Received: plain_mlp"):
        Training(tmp_path, recipe, small_source, select())


def test_the_command_line_names_the_recipe_and_repeats_the_run(tmp_path):
    arguments = ("train", "resnet20", "--data", "digits", "--weights", "digits", "--epochs", 1, "--freeze", "backbone")
    done = keras_skip(*arguments, "--batch-size", 512, "--validation", 0.2, "--keep", "best", cwd=tmp_path)
    assert "Recipe resnet20_finetune, chosen for 1,151 examples: epochs=1, batch_size=512" in done.stderr
    assert "resnet20_finetune, chosen for 1,151 examples" in done.stdout
    run = zoo.open_run(tmp_path / "runs" / "resnet20")
    assert (run.recipe.freeze, run.recipe.keep, run.recipe.weights) == ("backbone", "best", "digits")
    assert run.record["chosen_by"] == {"data": "digits", "examples": 1151, "image": [8, 8, 1], "axes": 4}
    from zoo.training.command import command

    line = "keras-skip train resnet20 --epochs 1 --weights digits --freeze backbone --keep best --data digits"
    assert set(command(run.record).split()) == {*line.split(), "--set", "batch_size=512", "--validation", "0.2"}


def test_a_network_without_data_is_answered_with_its_recipes(tmp_path):
    with pytest.raises(ValueError, match="without, it is one of its recipes: resnet20_digits, "):
        zoo.train("resnet20", out=tmp_path / "run")
