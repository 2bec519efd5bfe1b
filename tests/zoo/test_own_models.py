"""Models of the user's own in a run: from a file or an object, subclassed too, with a softmax or without."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest

import zoo
from tests.processes import keras_skip
from zoo.analysis.gradients import compare
from zoo.training.loop import Training
from zoo.training.start import decay_kernels

SETTINGS = {"epochs": 2, "batch_size": 64}


@keras.saving.register_keras_serializable("tests")
class Registered(keras.Model):
    def __init__(self, width=16, **options):
        super().__init__(**options)
        self.width, self.flatten, self.dropout = width, keras.layers.Flatten(), keras.layers.Dropout(0.3)
        self.hidden = keras.layers.Dense(width, "relu")
        self.outputs_of_mine = keras.layers.Dense(10, activation="softmax")

    def call(self, x, training=False):
        return self.outputs_of_mine(self.dropout(self.hidden(self.flatten(x)), training=training))

    def get_config(self):
        return {**super().get_config(), "width": self.width}


class Unwritable(keras.Model):
    def __init__(self, scale):
        super().__init__()
        self.flatten, self.dense, self.scale = keras.layers.Flatten(), keras.layers.Dense(10), scale

    def call(self, x):
        return self.scale(self.dense(self.flatten(x)))


def sequential(*last, name="mine"):
    layers = [keras.layers.Flatten(), keras.layers.Dense(16, "relu"), keras.layers.Dropout(0.2), *last]
    return keras.Sequential([keras.Input((8, 8, 1)), *layers], name=name)


def nested():
    image = keras.Input((8, 8, 1))
    return keras.Model(image, sequential(keras.layers.Dense(10, "softmax"))(image), name="nested")


ENDINGS = {
    "Dense with softmax": lambda: sequential(keras.layers.Dense(10, "softmax")),
    "Softmax": lambda: sequential(keras.layers.Dense(10), keras.layers.Softmax()),
    "Activation": lambda: sequential(keras.layers.Dense(10), keras.layers.Activation("softmax")),
    "softmax of a model inside": nested,
    "softmax of a subclass": Registered,
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_softmax_is_taken_off_and_the_predictions_stay(ending, small_source, tmp_path, no_report):
    keras.utils.set_random_seed(0)
    model = ENDINGS[ending]()
    images = small_source.preprocessing(small_source.test_inputs)
    before = keras.ops.convert_to_numpy(model(images))
    run = zoo.train(None, model=model, data=small_source, out=tmp_path / "run", **SETTINGS, **{"optimizer.lr": 1e-12})
    assert run.record["model"]["ending"] == "softmax"
    logits = keras.ops.convert_to_numpy(zoo.load(run.path)(images))
    np.testing.assert_allclose(keras.ops.softmax(logits), before, atol=1e-5)
    # Keras measures the same loss of the probabilities.
    expected = keras.losses.SparseCategoricalCrossentropy()(small_source.test_targets, before)
    assert run.results["test_loss"] == pytest.approx(float(expected), rel=1e-4)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(images)), before)


def test_logits_stay_as_they_are(small_source, tmp_path, no_report):
    model = sequential(keras.layers.Dense(10))
    run = zoo.train(None, model=model, data=small_source, out=tmp_path / "run", **SETTINGS, **{"optimizer.lr": 1e-12})
    assert run.record["model"] == {
        "name": "mine",
        "file": None,
        "kept": True,
        "ending": "logits",
        "scales_inputs": False,
    }
    images = small_source.preprocessing(small_source.test_inputs)
    np.testing.assert_allclose(zoo.load(run.path)(images), model(images), atol=1e-5)


def test_a_sequential_of_logits_gets_a_report_and_figures(small_source, tmp_path):
    run = zoo.train(None, small_source, tmp_path / "run", model=sequential(keras.layers.Dense(10)), **SETTINGS)
    assert run.status == "complete" and (run.path / "report.html").is_file()
    model = zoo.load(run.path)
    assert isinstance(model, keras.Sequential)
    assert zoo.multiply_adds(model) == 64 * 16 + 16 * 10
    norms = compare([str(run.model_path)], small_source)
    assert len(norms) == 2 and all(norm.norm > 0 for norm in norms)
    assert zoo.draw(run.model_path, tmp_path / "drawn.svg")


def test_a_sequential_that_is_not_built_is_refused(small_source):
    with pytest.raises(ValueError, match="Expected a built model with one input. Received: model=<Sequential"):
        zoo.evaluate(keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10)]), small_source)


def test_a_model_that_scales_its_inputs_gets_pixels(small_source, tmp_path, no_report):
    model = sequential(keras.layers.Dense(10))
    scaled = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 16), model], name="scaled")
    run = zoo.train(None, model=scaled, data=small_source, out=tmp_path / "run", **SETTINGS, **{"optimizer.lr": 1e-12})
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(
        small_source.test_targets, scaled(small_source.test_inputs.astype("float32"))
    )
    assert run.results["test_loss"] == pytest.approx(float(expected), rel=1e-4)


class Stop(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


def interrupt(**arguments):
    with pytest.raises(KeyboardInterrupt):
        zoo.train(**arguments, callbacks=[Stop()])


def weights(model):
    return [keras.ops.convert_to_numpy(v) for v in model.weights]


@pytest.mark.parametrize("kind", ["file", "object"])
def test_a_registered_subclass_resumes_from_the_copy_in_the_run(kind, small_source, tmp_path, request):
    if kind == "file":
        request.getfixturevalue("no_report")
    keras.utils.set_random_seed(0)
    model = Registered(width=24)
    model(np.zeros((1, 8, 8, 1), "float32"))
    file = tmp_path / "registered.keras"
    model.save(file)
    given = {"recipe": None, "model": file if kind == "file" else model, "data": small_source, **SETTINGS}
    whole = zoo.train(**given, out=tmp_path / "whole")
    interrupt(**given, out=tmp_path / "run")
    file.unlink()
    run = zoo.resume(tmp_path / "run", small_source)
    assert all(np.array_equal(a, b) for a, b in zip(*map(weights, map(zoo.load, (whole.path, run.path))), strict=True))
    assert (run.path / "report.html").is_file() == (kind == "object")
    assert zoo.evaluate(run, small_source)["accuracy"] == pytest.approx(run.results["test_accuracy"])


def test_a_model_that_cannot_be_written_down_is_trained_itself(small_source, tmp_path):
    def made():
        keras.utils.set_random_seed(0)
        return Unwritable(lambda x: 2 * x)

    given = {"recipe": None, "data": small_source, **SETTINGS}
    first, second = made(), made()
    zoo.train(model=first, **given, out=tmp_path / "whole")
    interrupt(model=second, **given, out=tmp_path / "run")
    with pytest.raises(ValueError, match="Expected model=unwritable.*, which the run at .* began with"):
        zoo.resume(tmp_path / "run", small_source)
    third = Unwritable(lambda x: 2 * x)
    run = zoo.resume(tmp_path / "run", small_source, model=third)
    assert all(np.array_equal(a, b) for a, b in zip(weights(first), weights(third), strict=True))
    assert (run.path / "model.weights.h5").is_file() and (run.path / "report.html").is_file()


def test_a_run_that_was_stopped_before_it_kept_its_model_needs_it_again(small_source, tmp_path, no_report, monkeypatch):
    model = sequential(keras.layers.Dense(10))
    model.save(tmp_path / "mine.keras")
    given = {"recipe": None, "data": small_source, **SETTINGS}
    whole = zoo.train(model=tmp_path / "mine.keras", **given, out=tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Training, "keep_initial", lambda *ignored: (_ for _ in ()).throw(KeyboardInterrupt()))
        for name, own in (("file", tmp_path / "mine.keras"), ("object", model)):
            with pytest.raises(KeyboardInterrupt):
                zoo.train(model=own, **given, out=tmp_path / name)
    with pytest.raises(ValueError, match="Expected model=mine, which the run at .* began with and did not keep"):
        zoo.resume(tmp_path / "object", small_source)
    for run in (
        zoo.resume(tmp_path / "object", small_source, model=model),
        zoo.resume(tmp_path / "file", small_source),
    ):
        found, expected = (weights(zoo.load(path)) for path in (run.path, whole.path))
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_gradients_need_a_model_that_can_be_copied(small_source, tmp_path):
    with pytest.raises(ValueError, match="Expected gradients=None for a model that Keras cannot copy, unwritable"):
        zoo.train(None, small_source, tmp_path / "run", model=Unwritable(lambda x: x), gradients=2, **SETTINGS)
    assert not (tmp_path / "run").exists()


def test_a_file_is_trained_and_exported_by_the_command_line(tmp_path):
    sequential(keras.layers.Dense(10, "softmax")).save(tmp_path / "mine.keras")
    done = keras_skip("train", "--model", "mine.keras", "--data", "digits", "--epochs", 1, cwd=tmp_path)
    assert "softmax" in done.stdout and "an export puts it back" in done.stdout
    run = zoo.open_run(tmp_path / "runs" / "mine")
    from zoo.training.command import command

    assert command(run.record) == "keras-skip train --model mine.keras --data digits --epochs 1"
    keras_skip("export", "runs/mine", "--format", "onnx", cwd=tmp_path)
    import export

    digits = zoo.load_source("digits")
    given = export.load(run.path / "export")(digits.test_inputs[:50])
    shown = zoo.load(run.path)(digits.preprocessing(digits.test_inputs[:50]))
    found = next(iter(given.values())) if isinstance(given, dict) else given
    np.testing.assert_allclose(found, keras.ops.softmax(shown), atol=1e-4)
    assert json.loads((run.path / "run.json").read_text())["model"]["file"] == "mine.keras"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "nothing.keras"}, r"Expected a model in a \.keras file.*'nothing\.keras'"),
        ({"recipe": "resnet20", "model": "MODEL"}, "without the name of a network"),
        ({"model": "MODEL", "weights": "digits"}, "with weights"),
        ({"model": "MODEL", "precision": "mixed_bfloat16"}, "Expected precision='float32' for a model of your own"),
        ({"recipe": None}, "Expected a recipe, the name of a network, or a model"),
    ],
)
def test_what_does_not_go_together_is_refused_before_the_data_are_read(arguments, message, tmp_path, monkeypatch):
    monkeypatch.setattr("zoo.data.load_source", lambda *ignored, **options: pytest.fail("read"))
    model = sequential(keras.layers.Dense(10))
    given = {name: model if value == "MODEL" else value for name, value in {"recipe": None, **arguments}.items()}
    with pytest.raises(ValueError, match=message):
        zoo.train(**given, data="digits", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: sequential(keras.layers.Dense(7)), "in 7 classes"),
        (lambda: keras.Sequential([keras.Input((9, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]), "9, 8, 1"),
        (lambda: keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Dense(10)]), r"of shape \(None, 8, 8, 10\)"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_refused(model, message, small_source, tmp_path):
    with pytest.raises(ValueError, match=message):
        zoo.train(None, model=model(), data=replace(small_source, name="mine"), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_kernels_without_a_regulariser_decay_as_the_recipe_says():
    """A decay d adds d w to the gradient of a kernel w, so d / 2 w^2 to the loss."""
    layers = [
        keras.layers.Dense(3, bias_initializer="ones"),
        keras.layers.Dense(2, kernel_regularizer=keras.regularizers.L1(0.5)),
        keras.layers.Dense(2, trainable=False),
    ]
    model = keras.Sequential([keras.Input((4,)), *layers])
    decay_kernels(model, 0.0)
    assert len(model.losses) == 1
    decay_kernels(model, 0.1)
    first, second = (keras.ops.convert_to_numpy(layer.kernel) for layer in layers[:2])
    expected = [0.1 / 2 * np.sum(first**2), 0.5 * np.sum(np.abs(second))]
    np.testing.assert_allclose(sorted(map(float, model.losses)), sorted(expected), rtol=1e-5)
