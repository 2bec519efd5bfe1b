"""Classes named for images of any size, by a network with shipped weights or of a run: in Python and by the command."""

import csv

import numpy as np
import pytest
from keras import ops
from PIL import Image
from sklearn.datasets import load_sample_image

import zoo
from tests.processes import keras_skip
from zoo.training.prediction import KerasNetwork


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name in ("china", "flower"):
        Image.fromarray(load_sample_image(f"{name}.jpg")).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def expected(photos):
    """The probabilities, computed by hand: the card has no record of cropping, so photos are stretched."""
    card = zoo.card("resnet20", "cifar10")
    assert card.image is None
    names = ("china.png", "flower.png")
    images = [np.asarray(Image.open(photos / name).resize((32, 32), Image.Resampling.BICUBIC)) for name in names]
    mean, std = (np.array(card.preprocessing[name]) for name in ("mean", "std"))
    network = zoo.load("resnet20", "cifar10")
    return np.asarray(ops.softmax(network((np.stack(images) / 255 - mean) / std)))


@pytest.fixture(scope="module")
def classifier():
    return zoo.Classifier("resnet20", "cifar10")


def test_it_names_what_keras_computes(classifier, photos, expected):
    names = zoo.card("resnet20", "cifar10").class_names
    assert classifier.class_names == names
    order = np.argsort(-expected[0])
    (best,) = classifier.classify(photos / "china.png", top=10)
    assert [name for name, _ in best] == [names[index] for index in order]
    np.testing.assert_allclose([p for _, p in best], expected[0][order], atol=1e-6)
    ((name, probability),) = classifier.classify(str(photos / "china.png"))
    assert (name, probability) == best[0]


def test_images_may_be_of_every_kind(classifier, photos, expected):
    file = photos / "flower.png"
    pixels = np.asarray(Image.open(file))
    several = [file, file.read_bytes(), Image.open(file), pixels]
    for found in (classifier.classify(several, batch_size=3), classifier.classify(np.stack([pixels] * 4))):
        assert len(found) == 4 and len({name for name, _ in found}) == 1
        assert [p for _, p in found] == pytest.approx([expected[1].max()] * 4, abs=1e-6)
    for one in several:
        ((_, probability),) = classifier.classify(one)
        assert probability == pytest.approx(expected[1].max(), abs=1e-6)


def test_a_network_of_other_pixels_takes_arrays(photos):
    digits = zoo.load_source("digits")
    classifier = zoo.Classifier("resnet20", "digits")
    named = classifier.classify(digits.test_inputs)
    right = np.mean([name == str(label) for (name, _), label in zip(named, digits.test_targets, strict=True)])
    assert right == pytest.approx(zoo.card("resnet20", "digits").test_accuracy)
    for wrong in (photos / "china.png", digits.test_inputs[0], digits.test_inputs[:0], [["a"]]):
        with pytest.raises(
            ValueError, match="array of inputs of shape .8, 8, 1., since the network was not trained on"
        ):
            classifier.classify(wrong)


def test_wrong_requests_are_sentences(classifier, photos, tmp_path):
    with pytest.raises(ValueError, match=r"top to be at least 1\. Received: top=0"):
        classifier.classify(photos / "china.png", top=0)
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"image that can be read. Received: .*text\.jpg. \(.*unknown format"):
        classifier.classify(tmp_path / "text.jpg")
    with pytest.raises(ValueError, match="folder of a run"):
        zoo.Classifier("resnet20")
    with pytest.raises(ValueError, match="Expected weights of resnet20 by name"):
        zoo.Classifier("resnet20", "nothing")


def test_other_weights_are_another_network():
    """Predictions that go on with other weights than they began with are refused by this key."""
    network, info = zoo.load("resnet20", "digits"), zoo.weights_info("resnet20", "digits")

    def key():
        return KerasNetwork(network, "classification", info.class_names, info.preprocessing, info.image).key

    before = key()
    assert key() == before
    network.weights[-1].assign(network.weights[-1] + 1e-3)
    assert key() != before


def test_the_command_takes_weights_and_shows_what_it_writes(photos, expected, tmp_path):
    done = keras_skip("predict", "resnet20", photos, "--weights", "cifar10", "--top", 2, cwd=tmp_path)
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = zoo.card("resnet20", "cifar10").class_names
    for row, probabilities in zip(rows, expected, strict=True):
        first, second = np.argsort(-probabilities)[:2]
        assert (row["label"], row["label2"]) == (names[first], names[second])
        assert float(row["probability2"]) == pytest.approx(probabilities[second], abs=1e-6)
        assert row["probability"] in done.stdout and row["label"] in done.stdout
    wrong = keras_skip("predict", "resnet20", photos, cwd=tmp_path, expect=1)
    assert "or the name of a network with --weights. Received: 'resnet20'" in wrong.stderr + wrong.stdout
