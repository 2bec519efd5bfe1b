"""The digits, and the pipeline as a pure function of seed, epoch and batch."""

import numpy as np
import pytest

import zoo
from zoo.data import Augmentation
from zoo.data.augmentation.transforms import crop, flip
from zoo.data.layout import interleave_classes


@pytest.fixture(scope="module")
def source():
    return zoo.load_source("digits")


def batches(source, **options):
    images, labels = source.train_inputs, source.train_targets
    return zoo.Batches(images, labels, source.classes, source.preprocessing, 100, **options)


def test_digits_are_split_by_class_and_without_overlap(source):
    assert len(source.train_inputs) + len(source.test_inputs) == 1797
    assert source.train_inputs.dtype == np.uint8
    assert source.input_shape == (8, 8, 1)
    assert (source.train_inputs.min(), source.train_inputs.max()) == (0, 16)
    share = np.bincount(source.test_targets) / (np.bincount(source.train_targets) + np.bincount(source.test_targets))
    np.testing.assert_allclose(share, 0.2, atol=0.005)
    from sklearn.datasets import load_digits

    both = np.concatenate([source.train_inputs, source.test_inputs])[..., 0].reshape(1797, 64)
    ours, all_of_them = sorted(map(bytes, both)), sorted(map(bytes, load_digits().data.astype("uint8")))
    assert ours == all_of_them


def test_repr_of_a_source_shows_its_shapes_and_no_pixels(source):
    shown = "Source('digits', train_inputs=(1438, 8, 8, 1), test_inputs=(359, 8, 8, 1), classes=10)"
    assert repr(source) == shown


def test_digits_are_the_same_each_time(source):
    again = zoo.load_source("digits")
    np.testing.assert_array_equal(source.test_inputs, again.test_inputs)
    np.testing.assert_array_equal(source.test_targets, again.test_targets)


def test_preprocessing_standardises_the_training_images(source):
    seen = source.preprocessing(source.train_inputs)
    assert seen.dtype == np.float32
    assert seen.mean() == pytest.approx(0, abs=1e-5)
    assert seen.std() == pytest.approx(1, abs=1e-5)
    assert zoo.Preprocessing.from_dict(source.preprocessing.as_dict()) == source.preprocessing


def test_batch_is_a_pure_function_of_seed_epoch_and_position(source):
    options = {"seed": 5, "augmentation": Augmentation(pad=1, flip=True)}
    first, second = batches(source, **options), batches(source, **options)
    expected = {(epoch, index): first.batch(epoch, index) for epoch in (0, 1) for index in (0, 3, 14)}
    for (epoch, index), (images, labels) in reversed(expected.items()):
        second.epoch = epoch
        np.testing.assert_array_equal(second[index][0], images)
        np.testing.assert_array_equal(second[index][1], labels)


@pytest.mark.parametrize("change", [{"seed": 6}, {"epoch": 1}, {"index": 1}])
def test_batch_changes_with_seed_epoch_and_position(source, change):
    place = {"seed": 5, "epoch": 0, "index": 0} | change
    before = batches(source, seed=5, augmentation=Augmentation(pad=1)).batch(0, 0)[0]
    after = batches(source, seed=place["seed"], augmentation=Augmentation(pad=1)).batch(place["epoch"], place["index"])[
        0
    ]
    assert not np.array_equal(before, after)


@pytest.mark.parametrize("epoch", [0, 7])
def test_every_example_comes_once_in_an_epoch(source, epoch):
    numbered = np.arange(250, dtype="uint8").reshape(250, 1, 1, 1)
    plain = zoo.Preprocessing(1.0, (0.0,), (1.0,))
    data = zoo.Batches(numbered, np.arange(250) % 10, 10, plain, 64, seed=3)
    assert len(data) == 4
    parts = [data.batch(epoch, index) for index in range(len(data))]
    seen = np.concatenate([images for images, _ in parts]).ravel()
    labels = np.concatenate([labels.argmax(1) for _, labels in parts])
    assert sorted(seen) == list(range(250))
    assert list(seen) != list(range(250))
    np.testing.assert_array_equal(labels, seen % 10)


def test_without_a_seed_examples_come_in_order_and_unchanged(source):
    images, labels = batches(source, augmentation=Augmentation(pad=1)).batch(4, 2)
    np.testing.assert_array_equal(images, source.preprocessing(source.train_inputs[200:300]))
    np.testing.assert_array_equal(labels.argmax(1), source.train_targets[200:300])


@pytest.mark.parametrize("pad_mode", ["constant", "reflect"])
def test_augmented_images_are_crops_and_mirror_images_of_the_padded_ones(pad_mode):
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 5, 3), dtype="uint8")
    rng = np.random.default_rng(1)
    out = flip(crop(images, 2, pad_mode, rng, 40, np.arange(40)), rng.random(40) < 0.5)
    assert out.shape == images.shape
    assert out.dtype == np.uint8
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode=pad_mode)
    found = set()
    for place, image in enumerate(out):
        candidates = {
            (top, left, mirrored): padded[place, top : top + 6, left : left + 5][:, :: -1 if mirrored else 1]
            for top in range(5)
            for left in range(5)
            for mirrored in (False, True)
        }
        matches = [key for key, candidate in candidates.items() if np.array_equal(candidate, image)]
        assert matches
        found.add(matches[0])
    assert {top for top, _, _ in found} == {left for _, left, _ in found} == set(range(5))
    assert {mirrored for _, _, mirrored in found} == {False, True}


def test_source_that_is_not_uint8_images_is_refused(source):
    from dataclasses import replace

    with pytest.raises(ValueError, match="Expected train_inputs as uint8"):
        replace(source, train_inputs=source.train_inputs.astype("float32"))


def test_source_with_labels_beyond_its_classes_is_refused(source):
    from dataclasses import replace

    with pytest.raises(ValueError, match="Expected train_targets from 0 to 8.* Received: train_targets from 0 to 9"):
        replace(source, class_names=source.class_names[:9])


@pytest.mark.parametrize(
    ("labels", "count", "places"),
    [
        ([0, 0, 0, 1, 1, 2], 4, [0, 3, 5, 1]),
        ([0, 0, 0, 1, 1, 2], 9, [0, 3, 5, 1, 4, 2]),
        ([2, 0, 2, 0], 3, [1, 0, 3]),
        ([1, 1], 1, [0]),
    ],
)
def test_examples_in_turns_from_each_class(labels, count, places):
    assert interleave_classes(np.array(labels), count).tolist() == places


def test_arrays_in_the_place_of_a_source_are_refused():
    with pytest.raises(ValueError, match=r"Expected data as a name, a path or a zoo.Source. Received: tuple"):
        zoo.load_source((np.zeros((2, 8, 8, 1)), np.zeros(2)))
