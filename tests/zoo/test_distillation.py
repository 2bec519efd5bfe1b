"""Knowledge distillation: what a teacher adds to the targets, and that a run keeps its teacher."""

import shutil
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest

import zoo
from tests.processes import keras_skip
from zoo.training.distillation import TEACHER, mix, read_teacher
from zoo.training.learner import make_learner

IMAGES = np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype("float32")
LABELS = np.eye(10, dtype="float32")[np.arange(8)]
SMALL = zoo.get_recipe("resnet20_digits").changed({"arguments.depth": 8})
MASKS = {"source": "digits_masks", "network": "unet", "arguments": {"backbone": "resnet20"}}
SHORT = {"recipe": "resnet20_digits", "epochs": 2, "batch_size": 64, "arguments.depth": 8}


def logits(model):
    return np.asarray(keras.ops.convert_to_numpy(model(IMAGES, training=False)), "float64")


def softmax(values):
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def network(seed):
    keras.utils.set_random_seed(seed)
    model = zoo.build("resnet20", (8, 8, 1), depth=8)
    model.get_layer("head").kernel.assign(np.random.default_rng(seed).normal(size=(64, 10)) * 3)
    return model


def test_targets_are_labels_and_the_teachers_probabilities():
    teacher = network(1)
    expected = 0.3 * LABELS + 0.7 * softmax(logits(teacher))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(mix(teacher, 0.7, IMAGES, LABELS)), expected, atol=1e-6)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("weight", [0.25, 1.0])
def test_a_step_has_the_cross_entropy_of_these_targets_and_leaves_the_teacher_as_it_is(weight, accumulate):
    if accumulate > 1 and keras.backend.backend() == "torch":
        pytest.skip("gradient accumulation is not for torch")
    settings = {"optimizer.weight_decay": 0.0, "accumulate": accumulate}
    recipe = zoo.get_recipe("resnet20_digits").changed({**settings, "optimizer.ema": 0.5})
    student, teacher = network(0), network(1)
    learner, _ = make_learner(student, recipe, 10, zoo.load_source("digits"), partial(mix, teacher, weight))
    assert not {id(v) for v in learner.variables} & {id(v) for v in teacher.variables}
    before = [keras.ops.convert_to_numpy(v.value).copy() for v in teacher.variables]
    targets = (1 - weight) * LABELS + weight * softmax(logits(teacher))
    # Frozen statistics, so that the loss is known from a call.
    for layer in student._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    expected = -(targets * np.log(softmax(logits(student)))).sum(axis=-1).mean()
    loss, *_ = learner.train_on_batch(IMAGES, LABELS, np.ones(8, "float32"))
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    for variable, value in zip(teacher.variables, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable.value), value)
    plain = -(LABELS * np.log(softmax(logits(student)))).sum(axis=-1).mean()
    np.testing.assert_allclose(learner.test_on_batch(IMAGES, LABELS)[0], plain, rtol=1e-4)


def test_a_run_keeps_its_teacher_and_resumes_to_the_same_weights(small_source, tmp_path, monkeypatch):
    plain = {**SHORT, "data": small_source}
    with monkeypatch.context() as patch:
        patch.setattr("zoo.training.loop.write_report", lambda *ignored: None)
        alone = zoo.train(out=tmp_path / "alone", **plain)
    teacher = shutil.copytree(alone.path, tmp_path / "teacher")
    settings = {**plain, "teacher": str(teacher), "teacher_weight": 0.9}
    weights = set()
    with monkeypatch.context() as patch:
        patch.setattr(
            "zoo.training.loop.mix", lambda model, weight, *batch: weights.add(weight) or mix(model, weight, *batch)
        )
        whole = zoo.train(out=tmp_path / "whole", **settings)
    assert weights == {0.9}

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        zoo.train(out=tmp_path / "stopped", callbacks=[Stop()], **settings)
    shutil.rmtree(teacher)
    assert (tmp_path / "stopped" / TEACHER).is_file()
    resumed = zoo.resume(tmp_path / "stopped", small_source)
    found, expected, without = (zoo.load(run.path).get_weights() for run in (resumed, whole, alone))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert any((ours != theirs).any() for ours, theirs in zip(expected, without, strict=True))
    assert "teacher" in whole.path.joinpath("report.html").read_text()


def test_a_teacher_sees_images_as_it_did_in_its_own_training(tmp_path):
    source = replace(zoo.load_source("digits"), preprocessing=zoo.Preprocessing(0.25, (1.0,), (2.0,)))
    recipe = zoo.get_recipe("resnet20_digits").changed(teacher="resnet20/digits")
    info = zoo.weights_info("resnet20", "digits")
    pixels = source.test_inputs[:8]
    expected = zoo.load("resnet20", "digits").predict(info.preprocessing(pixels), verbose=0)
    found = read_teacher(recipe, source, tmp_path).predict(source.preprocessing(pixels), verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["logits", "softmax", "scaled"])
def test_a_file_teaches_its_probabilities_with_a_softmax_or_scaling_of_its_own(kind, tmp_path):
    taught, source = network(1), zoo.load_source("digits")
    first = [keras.Input((8, 8, 1)), *([keras.layers.Rescaling(1 / 16)] if kind == "scaled" else [])]
    last = [keras.layers.Softmax()] if kind == "softmax" else []
    keras.Sequential([*first, taught, *last]).save(tmp_path / "teacher.keras")
    teacher = read_teacher(SMALL.changed(teacher=str(tmp_path / "teacher.keras")), source, tmp_path / "run")
    pixels = source.test_inputs[:8]
    given, scaled = source.preprocessing(pixels), pixels.astype("float32") / 16
    expected = softmax(taught.predict(scaled if kind == "scaled" else given, verbose=0).astype("float64"))
    found = mix(teacher, 1.0, given, LABELS)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), expected, atol=1e-5)


def test_a_teacher_sees_images_of_the_sizes_of_the_epochs(small_source, tmp_path, no_report):
    network(1).save(tmp_path / "teacher.keras")
    settings = SHORT | {"data": small_source, "augment.sizes": ((0.0, 4), (0.5, 8))}
    run = zoo.train(out=tmp_path / "run", teacher=str(tmp_path / "teacher.keras"), **settings)
    assert run.status == "complete"
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]).save(
        tmp_path / "teacher.keras"
    )
    with pytest.raises(ValueError, match="takes images of any size, for augment.sizes. Received: sequential"):
        zoo.train(out=tmp_path / "not", teacher=str(tmp_path / "teacher.keras"), **settings)
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"teacher": "nowhere"},
            "a network and its weights, such as 'resnet20/cifar10'.*Received: teacher='nowhere', which does not exist",
        ),
        ({"teacher": "resnet21/digits"}, "Received: teacher='resnet21/digits'. Did you mean resnet20/digits"),
        ({"teacher": "resnet20/imagenet"}, "Expected weights of resnet20 by name"),
        ({"teacher": "resnet20/cifar10"}, r"for the teacher resnet20/cifar10. Received: digits, with images"),
        ({"teacher": "resnet20/digits", "loss": "binary"}, "teacher to be None with loss='binary'"),
        ({"teacher": ""}, "teacher to be NETWORK/WEIGHTS, a path, or None"),
        ({"teacher_weight": 0.0}, r"teacher_weight to be a number in \(0, 1\]"),
        ({"teacher": None, "teacher_weight": 0.9}, "teacher_weight to be left at 0.5 unless teacher is set"),
        ({"teacher": None, "teacher_weight": 0.3}, "teacher_weight to be left at 0.5 unless teacher is set"),
        ({**MASKS, "teacher": "resnet20/digits"}, "Expected a classification"),
    ],
)
def test_what_cannot_teach_is_refused_before_anything_is_written(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        zoo.train("resnet20_digits", out=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_a_teacher_by_name_from_the_command_line(tmp_path):
    options = "--epochs", 1, "--set", "teacher=stochastic_resnet32/digits", "--set", "teacher_weight=0.9"
    shallow = "--set", "batch_size=256", "--set", "arguments.depth=8"
    keras_skip("train", "resnet20_digits", *options, *shallow, "--out", "run", cwd=tmp_path)
    assert zoo.open_run(tmp_path / "run").recipe.teacher == "stochastic_resnet32/digits"
