"""The recipe that a network's name means for data, and the precision that is measured."""

import keras
import numpy as np
import pytest

import zoo
from zoo.devices.selection import select
from zoo.training import measured_precision
from zoo.training.choice import choose_recipe
from zoo.training.measured_precision import choose_precision

IMAGE = [32, 32, 3]


@pytest.mark.parametrize("examples", [20, 300, 999, 1000, 5000, 50_000])
def test_few_data_get_a_reasonable_number_of_steps(examples):
    for weights, steps in ((None, 1500), ("cifar10", 600)):
        facts = {"data": "photos", "examples": examples, "image": IMAGE}
        recipe = choose_recipe("resnet32_of_mine", facts, weights)
        per_epoch = -(-examples // recipe.batch_size)
        assert recipe.batch_size <= max(16, examples / 31)
        assert 5 <= recipe.epochs <= 100
        # The length is that of the rule, unless its bounds on the epochs make it shorter or longer.
        taken = recipe.epochs * per_epoch
        assert taken >= steps or recipe.epochs in (40, 100)
        assert taken < steps + per_epoch or recipe.epochs in (5, 10)
        assert recipe.schedule.warmup * taken < 400 and recipe.optimizer.lr <= 0.05


@pytest.mark.parametrize(
    ("examples", "size"), [(999, 16), (1000, 32), (3999, 32), (4000, 64), (15_999, 64), (16_000, 128)]
)
def test_batches_grow_with_the_data_as_documented(examples, size):
    assert choose_recipe("mine", {"data": "x", "examples": examples, "image": None}).batch_size == size


@pytest.mark.parametrize(
    ("network", "data", "examples", "name"),
    [
        ("resnet20", "digits", 1438, "resnet20_digits"),
        ("resnet20", "cifar10", 50_000, "resnet20_cifar10_fast"),
        ("resnet20", "/photos", 300, "resnet20_few"),
        ("resnet20", "/photos", 10_000, "resnet20_cifar10_fast"),
        ("resnet50", "/photos", 10_000, "resnet50_few"),
    ],
)
def test_data_that_a_recipe_was_written_for_get_it(network, data, examples, name):
    assert choose_recipe(network, {"data": data, "examples": examples, "image": IMAGE}).name == name


def test_colour_images_are_mirrored_and_other_inputs_are_left_as_they_are():
    def augmented(image):
        return choose_recipe("resnet20", {"data": "x", "examples": 9, "image": image}).augment

    assert augmented([32, 32, 3]) == zoo.data.Augmentation(pad=4, pad_mode="reflect", flip=True)
    assert augmented([28, 28, 1]) == zoo.data.Augmentation(pad=3, pad_mode="reflect")
    assert augmented(None) == zoo.data.Augmentation()


def test_a_recipe_for_colour_photos_leaves_out_what_does_not_suit_other_data():
    def chosen(network, image, axes=4):
        return choose_recipe(network, {"data": "x", "examples": 10_000, "image": image, "axes": axes})

    written = zoo.get_recipe("airbench94_cifar10")
    assert chosen("airbench94", IMAGE) == written
    grey = chosen("airbench94", [28, 28, 1])
    assert grey == written.changed({"initialization": ("dirac",), "augment.flip": False})
    assert chosen("plain_mlp", [28, 28, 1]).augment == zoo.data.Augmentation(pad=2)
    plain = zoo.get_recipe("plain_mlp_mnist_fast")
    assert chosen("plain_mlp", None) == plain, "images of floats"
    assert chosen("plain_mlp", None, axes=2) == plain.changed(augment=zoo.data.Augmentation())
    growing = "airbench_residual_64_192_256"
    assert chosen(growing, [64, 64, 3]).name == f"{growing}_cifar10", "sizes are for images of 32 pixels"
    assert choose_recipe(growing, {"data": "cifar10", "examples": 50_000, "image": IMAGE}).augment.sizes


def weights(run):
    return zoo.load(run.path).get_weights()


DROPOUT = {
    "recipe": "resnet20_digits",
    "network": "highway_mnist_16",
    "arguments": {"depth": 4, "width": 4, "dropout": 0.3},
    "epochs": 1,
    "batch_size": 64,
}


@pytest.mark.parametrize("chosen", ["float32", "mixed_bfloat16"])
def test_a_run_of_measured_precision_is_the_one_that_states_it(chosen, small_source, tmp_path, monkeypatch, no_report):
    """Whatever the machine is fastest at, with dropout, whose random numbers the measurement must not use up."""
    monkeypatch.setattr(measured_precision, "SPEEDUP", 0.0 if chosen == "mixed_bfloat16" else 1e9)
    auto = zoo.train(**DROPOUT, data=small_source, out=tmp_path / "auto", precision="auto")
    stated = zoo.train(**DROPOUT, data=small_source, out=tmp_path / "stated", precision=chosen)
    assert auto.recipe.precision == chosen == auto.record["precision"]["chosen"]
    assert all(np.array_equal(a, b) for a, b in zip(weights(auto), weights(stated), strict=True))
    measured = auto.record["precision"]["measured"]
    assert measured["float32"]["difference"] == 0 < measured["mixed_bfloat16"]["difference"] < 0.1
    assert all(figures["seconds_per_step"] > 0 for figures in measured.values())


def test_a_precision_that_does_not_hold_is_not_chosen(small_source, monkeypatch):
    recipe = zoo.get_recipe("plain_mlp_digits").changed(precision="auto")
    monkeypatch.setattr(measured_precision, "SPEEDUP", 0.0)
    monkeypatch.setattr(measured_precision, "BOUND", 1e-9)
    chosen, record = choose_precision(recipe, small_source, select())
    assert chosen.precision == "float32" and not record["measured"]["mixed_bfloat16"]["holds"]
    monkeypatch.setattr(measured_precision, "BOUND", 1.0)
    monkeypatch.setattr(keras.Model, "train_on_batch", lambda *ignored: [float("nan"), 0.0])
    chosen, record = choose_precision(recipe, small_source, select())
    assert chosen.precision == "float32" and not record["measured"]["mixed_bfloat16"]["holds"]
