"""The digits, and the pipeline as a pure function of seed, epoch and batch."""

import hashlib
import json
from dataclasses import replace

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


def small(task, **changes):
    """A source of four training and two test examples."""
    numbers = np.arange(6 * 4 * 4, dtype="uint8").reshape(6, 4, 4, 1)
    fields = {
        "classification": {"train_targets": np.array([0, 1, 0, 1]), "test_targets": np.array([1, 0])},
        "regression": {
            "train_targets": np.float32([[1, 5], [2, 5], [3, 5], [4, 6]]),
            "test_targets": np.float32([[1, 2], [3, 4]]),
            "target_names": ("price", "rooms"),
        },
        "segmentation": {"train_targets": numbers[:4, ..., 0] % 2, "test_targets": numbers[4:, ..., 0] % 3 // 2 * 255},
    }[task]
    names = () if task == "regression" else ("a", "b")
    fields |= {"train_inputs": numbers[:4], "test_inputs": numbers[4:], "class_names": names, "task": task}
    return zoo.Source(**{"name": "small", "preprocessing": zoo.Preprocessing.identity(), **fields, **changes})


REFUSED = [
    ("classification", r"inputs as numbers .* Received: bool of shape", {"test_inputs": np.ones((2, 4, 4, 1), bool)}),
    ("classification", r"inputs as numbers .* Received: float64 of shape \(2,\)", {"test_inputs": np.ones(2)}),
    ("classification", "inputs as numbers .* and 3 targets", {"test_targets": np.zeros(3, int)}),
    (
        "classification",
        r"test_inputs of the shape of train_inputs, \(4, 4, 1\)",
        {"test_inputs": np.ones((2, 4, 4, 3))},
    ),
    ("classification", r"as integers, of shape \(2,\). Received: float64", {"test_targets": np.zeros(2)}),
    ("classification", "from 0 to 1, one for each class name. .* 0 to 2", {"test_targets": np.array([0, 2])}),
    ("classification", "two classes or more. .* examples of 'b'", {"train_targets": np.ones(4, int)}),
    ("classification", "Expected class_names and no target_names", {"target_names": ("price",)}),
    (
        "regression",
        r"floats, .* of shape \(2, 2\). Received: float32 of shape \(2,\)",
        {"test_targets": np.float32([1, 2])},
    ),
    ("regression", "1 that are NaN or infinite", {"test_targets": np.float32([[1, 2], [np.nan, 1]])}),
    (
        "regression",
        "in which rooms is always the same",
        {"train_targets": np.float32([[1, 5], [2, 5], [3, 5], [4, 5]])},
    ),
    ("regression", "Expected target_names, each once", {"target_names": ("price", "price")}),
    ("regression", "and no class_names for regression", {"class_names": ("a",)}),
    ("segmentation", r"masks of uint8, of shape \(2, 4, 4\)", {"test_targets": np.zeros((2, 4, 4, 1), "uint8")}),
    ("segmentation", "masks of uint8, .* Received: int64", {"test_targets": np.zeros((2, 4, 4), int)}),
    (
        "segmentation",
        "or 255 for pixels to ignore. Received: test_targets with 2",
        {"test_targets": np.full((2, 4, 4), 2, "uint8")},
    ),
    ("segmentation", "with only pixels to ignore", {"train_targets": np.full((4, 4, 4), 255, "uint8")}),
    ("segmentation", "two classes or more. .* with only b", {"train_targets": np.ones((4, 4, 4), "uint8")}),
]


@pytest.mark.parametrize(("task", "message", "changes"), REFUSED)
def test_source_with_inputs_or_targets_of_another_task_is_refused(task, message, changes):
    with pytest.raises(ValueError, match=message):
        small(task, **changes)


def test_source_of_an_unknown_task_is_refused(source):
    with pytest.raises(ValueError, match="task to be one of classification, regression, segmentation"):
        replace(source, task="detection")


@pytest.mark.parametrize(("task", "outputs"), [("classification", 2), ("regression", 2), ("segmentation", 2)])
def test_source_of_each_task_is_described_and_split(task, outputs):
    source = small(task)
    assert (source.outputs, source.task) == (outputs, task)
    split = source.with_validation(0.5, seed=1)
    assert [len(getattr(split, f"{part}_targets")) for part in split.parts] == [2, 2, 2]
    for kind in ("inputs", "targets"):
        both = np.concatenate([getattr(split, f"{part}_{kind}") for part in ("train", "validation")])
        assert sorted(map(bytes, both)) == sorted(map(bytes, getattr(source, f"train_{kind}")))
    described = split.as_dict()
    assert described["task"] == task
    assert described["validation"] == {"fraction": 0.5, "seed": 1}
    assert described.get("target_names") == (["price", "rooms"] if task == "regression" else None)
    json.dumps(described)


@pytest.mark.parametrize("task", ["classification", "regression", "segmentation"])
@pytest.mark.parametrize("kind", ["inputs", "targets"])
def test_fingerprint_changes_with_every_value(task, kind):
    source = small(task)
    changed = np.array(getattr(source, f"test_{kind}"))
    changed.flat[0] = 1 - changed.flat[0] % 2
    assert small(task).fingerprint == source.fingerprint
    assert small(task, **{f"test_{kind}": changed}).fingerprint != source.fingerprint
    if task == "regression":
        assert replace(source, target_names=("rooms", "price")).fingerprint != source.fingerprint
    if task == "classification":
        assert replace(source, train_inputs=source.train_inputs.astype("float32")).fingerprint != source.fingerprint


def test_fingerprint_of_classified_images_is_that_of_earlier_versions(source):
    """Runs that were recorded before are still found to be of these data."""
    digest = hashlib.sha256(repr(source.class_names).encode())
    for part in ("train", "test"):
        images, labels = getattr(source, f"{part}_inputs"), getattr(source, f"{part}_targets")
        digest.update(repr((part, images.shape)).encode() + labels.tobytes() + images.tobytes())
    assert source.fingerprint == digest.hexdigest()[:32]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float64"])
@pytest.mark.parametrize("shape", [(50, 3), (50, 7, 3), (50, 4, 4, 3)])
def test_preprocessing_is_fitted_to_arrays_of_any_type_and_rank(shape, dtype):
    inputs = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    inputs[..., 2] = 7
    seen = zoo.Preprocessing.fitted(inputs, scale=0.5)(inputs)
    axes = tuple(range(len(shape) - 1))
    np.testing.assert_allclose(seen.mean(axes), 0, atol=1e-5)
    np.testing.assert_allclose(seen.std(axes), [1, 1, 0], atol=1e-5)
    with pytest.raises(ValueError, match="finite numbers. Received: inputs with NaN"):
        zoo.Preprocessing.fitted(np.full(shape, np.nan), scale=1.0)


def test_rows_of_a_table_keep_their_missing_numbers():
    rows = np.float32([[1, np.nan], [2.5, 0]])
    np.testing.assert_array_equal(zoo.Preprocessing.identity()(rows), rows)


def test_source_with_labels_beyond_its_classes_is_refused(source):
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


def test_a_number_in_the_place_of_a_source_is_refused():
    with pytest.raises(ValueError, match=r"Expected data as a name, a path, a zoo.Source, .* Received: builtins.int"):
        zoo.load_source(3)
