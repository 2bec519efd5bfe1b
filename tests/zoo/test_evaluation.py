"""What `zoo.evaluate` measures, and the data that it refuses."""

import csv
from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image

import zoo
from tests.zoo.task_runs import diabetes
from zoo.analysis import gradients
from zoo.tasks import task_of
from zoo.tasks.segmentation_metrics import MeanIoU


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
    logits = zoo.load(run.path).predict(small_source.preprocessing(small_source.train_inputs), verbose=0)
    measured = np.mean(logits.argmax(axis=-1) == small_source.train_targets)
    assert run.results["train_accuracy"] == pytest.approx(measured, abs=1e-6)
    with (run.path / "history.csv").open() as file:
        *_, last = csv.DictReader(file)
    assert float(last["accuracy"]) < measured - 0.05, "on augmented images, while the weights still changed"


def test_loss_of_a_regression_on_other_data_keeps_the_units_of_training():
    source = diabetes()
    model = zoo.build("tabular_resnet", source.input_shape, source.outputs, depth=1, width=8)
    model = task_of(source).finish(model, source)
    other = replace(source, train_targets=10 * source.train_targets)
    error = model.predict(source.preprocessing(source.test_inputs), verbose=0) - source.test_targets
    expected = np.mean((error / source.train_targets.std(axis=0)) ** 2)
    for data in (source, other):
        assert zoo.evaluate(model, data)["loss"] == pytest.approx(expected, rel=1e-5)


def test_mean_iou_counts_more_pixels_in_a_batch_than_float32_can():
    right, wrong = 2**24 + 1000, 1000
    truth = np.zeros((1, right + wrong), "uint8")
    truth[0, :wrong] = 1
    metric = MeanIoU(2)
    metric.update_state(truth, np.broadcast_to(np.array([1, 0], "uint8"), (*truth.shape, 2)))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(metric.total_cm), [[right, 0], [wrong, 0]])


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
            with pytest.raises(ValueError, match=rf"was trained on: 0, 1, .*\. Received: {data.name}, with {said}"):
                measure(run, data)
                pytest.fail(name)


def test_numbered_classes_have_no_names_to_compare(small_source, tmp_path):
    animals = ("aardvark", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay")
    named = replace(small_source, name="animals", class_names=animals, origin={})
    run = zoo.train("plain_mlp_digits", named, tmp_path / "run", epochs=1, **{"arguments.depth": 3})
    assert zoo.evaluate(run, small_source)["examples"] == 50


@pytest.mark.parametrize("kind", ["folder", "arrays"])
def test_other_data_without_parts_are_measured_whole(kind, run, small_source, tmp_path):
    """Three images of each class, of which a split would measure one."""
    chosen = np.concatenate([np.flatnonzero(small_source.test_targets == label)[:3] for label in range(10)])
    pixels, labels = small_source.test_inputs[chosen], small_source.test_targets[chosen]
    if kind == "folder":
        other = tmp_path / "others"
        for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            (other / str(label)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(other / str(label) / f"{number}.png")
    else:
        other = tmp_path / "others.npz"
        np.savez(other, x_train=pixels, y_train=labels)
    found = zoo.evaluate(run, str(other))
    assert found["examples"] == len(chosen)
    answers = zoo.load(run.path)(zoo.Preprocessing.from_dict(run.source["preprocessing"])(pixels))
    assert found["accuracy"] == pytest.approx(np.mean(np.argmax(answers, axis=-1) == labels))
    assert len(zoo.load_source(str(other)).test_inputs) == 10
    by_weights = zoo.evaluate("plain_mlp", str(other), weights="digits")
    assert by_weights["examples"] == len(chosen)
