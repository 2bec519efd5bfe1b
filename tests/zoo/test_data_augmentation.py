"""Each augmentation by what defines it, in batches that are pure functions of seed, epoch and batch."""

import re

import numpy as np
import pytest

import zoo
from tests.zoo.augmented import PLAIN, batches, images, whole
from zoo.data import Augmentation

CENTRED = zoo.Preprocessing(1.0, (100.0, 110.0, 120.0), (50.0, 60.0, 70.0))

JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "lighting": 0.1}
ERASING = {"erasing": 0.5, "erasing_fill": "noise"}
OF_PHOTOS = {"crop_area": (0.2, 1.0), **JITTER, **ERASING, "mix_probability": 0.5}
EVERYTHING = Augmentation(
    pad=2, pad_mode="reflect", flip=True, rand_ops=2, cutout=3, mixup=0.5, cutmix=1.0, **OF_PHOTOS
)

EACH = {
    "nothing": Augmentation(),
    "crop": Augmentation(pad=2),
    "flip": Augmentation(flip=True),
    "alternating flip": Augmentation(flip="alternating"),
    "cutout": Augmentation(cutout=4),
    "rand": Augmentation(rand_ops=2),
    "mixup": Augmentation(mixup=0.4),
    "cutmix": Augmentation(cutmix=1.0),
    "random-resized crop": Augmentation(crop_area=(0.2, 1.0)),
    "jitter": Augmentation(**JITTER),
    "erasing": Augmentation(**ERASING),
    "everything": EVERYTHING,
}


@pytest.mark.parametrize("name", EACH)
def test_batches_depend_on_seed_epoch_and_position_alone(name):
    first, second = batches(EACH[name]), batches(EACH[name])
    expected = {place: first.batch(*place) for place in ((0, 0), (0, 3), (5, 1))}
    for place, (pixels, labels) in reversed(expected.items()):
        again = second.batch(*place)
        np.testing.assert_array_equal(again[0], pixels)
        np.testing.assert_array_equal(again[1], labels)
        assert (pixels.dtype, labels.dtype) == (np.float32, np.float32)
        assert (pixels.shape, labels.shape) == ((60, 8, 10, 3), (60, 7))
    if name != "nothing":
        assert not np.array_equal(expected[0, 0][0], batches(EACH[name], seed=4).batch(0, 0)[0])


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("count", [2, 3])
def test_the_slices_of_all_ranks_are_the_batch_of_one_process(name, count):
    alone = batches(EACH[name], images(130))
    ranks = [batches(EACH[name], images(130), shard=(rank, count)) for rank in range(count)]
    for index in range(3):
        slices = [rank.batch(2, index) for rank in ranks]
        for kind, together in enumerate(alone.batch(2, index)):
            np.testing.assert_array_equal(np.concatenate([part[kind] for part in slices]), together)


@pytest.mark.parametrize("name", EACH)
def test_a_rank_without_an_image_of_the_last_batch_gets_none(name):
    found = batches(EACH[name], images(3), size=2, shard=(0, 2))
    pixels, labels = found.batch(0, 1)
    assert (pixels.shape, labels.shape) == ((0, 8, 10, 3), (0, 7))


def test_an_epoch_begins_at_its_position_once():
    data = batches(Augmentation(pad=1))
    expected = [data.batch(4, index)[0] for index in range(5)]
    data.position = (4, 3)
    assert len(data) == 2
    np.testing.assert_array_equal(data[0][0], expected[3])
    data.epoch = 4
    assert len(data) == 2
    data.epoch = 5
    assert (len(data), data.position) == (5, (5, 0))
    np.testing.assert_array_equal(data[0][0], data.batch(5, 0)[0])
    assert len(batches(Augmentation(), start=4)) == 1


@pytest.mark.parametrize("position", [(-1, 0), (0, 5), (0, -1)])
def test_a_position_outside_of_the_epoch_is_refused(position):
    with pytest.raises(ValueError, match="Expected position to be an epoch and one of its 5 batches"):
        batches(Augmentation()).position = position


@pytest.mark.parametrize(("shard", "size"), [((2, 2), 60), ((-1, 2), 60), ((0, 0), 60)])
def test_a_wrong_shard_is_refused(shard, size):
    with pytest.raises(ValueError, match="Expected shard to be"):
        batches(Augmentation(), size=size, shard=shard)


def test_a_batch_that_processes_cannot_share_is_refused():
    with pytest.raises(ValueError, match="multiple of the 7 processes. Received: batch_size=60"):
        batches(Augmentation(), shard=(0, 7))


def test_keras_trains_what_is_left_of_an_epoch_in_a_fit_of_its_own():
    import keras

    seen = []
    data = batches(Augmentation(), size=100)

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            data.epoch = epoch

        def on_train_batch_end(self, batch, logs=None):
            seen.append((data.epoch, batch))

    model = keras.Sequential([keras.Input((8, 10, 3)), keras.layers.Flatten(), keras.layers.Dense(7)])
    model.compile("sgd", "mse")
    options = {"shuffle": False, "verbose": 0, "callbacks": [Watch()]}
    data.position = (1, 1)
    model.fit(data, initial_epoch=1, epochs=2, **options)
    data.position = (2, 0)
    model.fit(data, initial_epoch=2, epochs=4, **options)
    assert seen == [(1, 0), (1, 1), *((epoch, batch) for epoch in (2, 3) for batch in range(3))]


def test_half_of_the_images_are_mirrored_whole():
    data = images(2000, (2, 3, 1))
    out, _ = whole(Augmentation(flip=True), data)
    mirrored = np.array([np.array_equal(new, old[:, ::-1]) for new, old in zip(out, data, strict=True)])
    same = np.array([np.array_equal(new, old) for new, old in zip(out, data, strict=True)])
    assert (mirrored | same).all()
    assert mirrored.mean() == pytest.approx(0.5, abs=0.05)


def test_crops_are_uniform():
    data = np.broadcast_to(np.arange(1, 26, dtype="uint8").reshape(1, 5, 5, 1), (5000, 5, 5, 1))
    out, _ = whole(Augmentation(pad=2), data)
    corner = out[:, 2, 2, 0].astype(int)
    counts = np.bincount(corner, minlength=26)[1:]
    assert counts.sum() == 5000
    assert counts.min() > 130 and counts.max() < 270


@pytest.mark.parametrize("side", [1, 3, 4, 20])
def test_cutout_puts_the_mean_into_a_square_around_any_pixel(side):
    data = np.full((3000, 8, 10, 3), 255, "uint8")
    out, labels = whole(Augmentation(cutout=side), data, preprocessing=CENTRED)
    cut = (out == 0).all(-1)
    assert ((out != 0).all(-1) | cut).all()
    height, width = cut.any(2).sum(1), cut.any(1).sum(1)
    np.testing.assert_array_equal(cut.sum((1, 2)), height * width)
    assert (height.max(), width.max()) == (min(side, 8), min(side, 10))
    before = side // 2
    spans = [
        np.mean([min(place - before + side, size) - max(place - before, 0) for place in range(size)])
        for size in (8, 10)
    ]
    assert height.mean() == pytest.approx(spans[0], rel=0.05)
    assert width.mean() == pytest.approx(spans[1], rel=0.05)
    np.testing.assert_array_equal(labels.argmax(1), np.arange(3000) % 7)


def mixtures(augmentation, count=1200):
    """Images of one value each, and labels that say which: the shares of both can be compared."""
    data = np.zeros((count, 8, 10, 1), "uint8")
    data[np.arange(count) % 2 == 1] = 1
    found = zoo.Batches(data, np.arange(count) % 2, 2, PLAIN, 60, seed=3, augmentation=augmentation)
    found.order = lambda epoch: np.arange(count)
    parts = [found.batch(0, index) for index in range(len(found))]
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def test_mixup_averages_pixels_and_labels_by_the_same_weight():
    pixels, labels = mixtures(Augmentation(mixup=0.4))
    np.testing.assert_array_equal(pixels[..., 0], np.broadcast_to(labels[:, 1, None, None], (1200, 8, 10)))
    np.testing.assert_allclose(labels.sum(1), 1, atol=1e-6)
    own = np.where(np.arange(1200) % 2, labels[:, 1], labels[:, 0])
    assert own.mean() == pytest.approx(0.5, abs=0.04)
    assert own.var() == pytest.approx(1 / (4 * (2 * 0.4 + 1)), rel=0.1)  # the variance of Beta(a, a)


def test_cutmix_averages_labels_by_the_area_of_a_pasted_box():
    pixels, labels = mixtures(Augmentation(cutmix=1.0))
    np.testing.assert_allclose(pixels.mean((1, 2, 3)), labels[:, 1], atol=1e-6)
    assert set(np.unique(pixels)) == {0, 1}
    pasted = pixels[..., 0] != (np.arange(1200) % 2)[:, None, None]
    np.testing.assert_array_equal(pasted.sum((1, 2)), pasted.any(2).sum(1) * pasted.any(1).sum(1))
    assert 0.1 < pasted.mean() < 0.5  # half, less what lies outside


def test_with_both_each_image_has_one_of_the_two():
    pixels, labels = mixtures(Augmentation(mixup=1.0, cutmix=1.0))
    np.testing.assert_allclose(pixels.mean((1, 2, 3)), labels[:, 1], atol=1e-6)
    blended = ((pixels > 0) & (pixels < 1)).any((1, 2, 3))
    assert not (pixels[blended].min((1, 2, 3)) != pixels[blended].max((1, 2, 3))).any()
    assert blended.mean() == pytest.approx(0.5, abs=0.06)


def test_partners_are_the_next_images_and_the_last_ones_is_the_first():
    data = np.arange(1, 61, dtype="uint8").reshape(60, 1, 1, 1) * np.ones((1, 4, 4, 1), "uint8")
    out, _ = whole(Augmentation(cutmix=1.0), data)
    for place, image in enumerate(out):
        assert set(np.unique(image)) <= {place + 1, (place + 1) % 60 + 1}
    blended, _ = whole(Augmentation(mixup=1.0), data)
    assert 1 < blended[-1].max() < 59


def test_mixing_an_image_with_itself_changes_nothing():
    data = images(1)
    out, _ = whole(Augmentation(mixup=1.0), data)
    np.testing.assert_allclose(out, data, atol=1e-4)


def test_some_images_are_not_mixed():
    pixels, labels = mixtures(Augmentation(mixup=1.0, cutmix=1.0, mix_probability=0.3))
    own = np.where(np.arange(1200) % 2, labels[:, 1], labels[:, 0])
    assert (own == 1).mean() == pytest.approx(0.7, abs=0.06)  # and 1 or 2 % whose box lies outside the image
    np.testing.assert_array_equal(pixels[own == 1, 0, 0, 0], (np.arange(1200) % 2)[own == 1])
    np.testing.assert_allclose(pixels.mean((1, 2, 3)), labels[:, 1], atol=1e-6)


@pytest.mark.parametrize("chance", [0.0, 0.8, 1.0])
def test_the_share_of_boxes_can_be_chosen(chance):
    pixels, _ = mixtures(Augmentation(mixup=1.0, cutmix=1.0, cutmix_probability=chance))
    blended = ((pixels > 0) & (pixels < 1)).any((1, 2, 3))
    assert blended.mean() == pytest.approx(1 - chance, abs=0.04)


def masked(augmentation, preprocessing=PLAIN, count=120):
    """Images and masks after an augmentation, where pixels of the class c have the value 10 c + 7."""
    masks = np.random.default_rng(0).integers(0, 5, (count, 8, 10), dtype="uint8")
    data = 10 * masks[..., None] + 7
    options = {"seed": 3, "augmentation": augmentation, "task": "segmentation"}
    found = zoo.Batches(data, masks, 5, preprocessing, 50, **options)
    parts = [found.batch(1, index) for index in range(len(found))]
    return data, *(np.concatenate(part) for part in zip(*parts, strict=True))


@pytest.mark.parametrize(
    "change",
    [
        {"pad": 2},
        {"pad": 2, "pad_mode": "reflect"},
        {"flip": True},
        {"cutout": 4},
        {"erasing": 0.5},
        {"crop_area": (0.1, 0.6), "crop_interpolation": "nearest"},
    ],
    ids=str,
)
def test_masks_move_with_their_images(change):
    data, out, masks = masked(Augmentation(**change))
    known = masks != 255
    np.testing.assert_array_equal(out[..., 0][known], 10 * masks[known] + 7)
    # Pixels that an image did not have are 0, and do not count.
    np.testing.assert_array_equal(out[..., 0][~known], 0)
    assert not np.array_equal(out, data)
    filled = (
        change.get("cutout") or change.get("erasing") or (change.get("pad") and change.get("pad_mode") != "reflect")
    )
    assert bool(filled) == (not known.all())


def test_masks_move_with_standardised_images_as_the_images_do_without_masks():
    standardised = zoo.Preprocessing(0.5, (12.0,), (7.0,))
    augmentation = Augmentation(pad=2, flip="alternating", cutout=3)
    data, out, masks = masked(augmentation, standardised)
    options = {"seed": 3, "augmentation": augmentation}
    plain = zoo.Batches(data, np.zeros(len(data), int), 2, standardised, 50, **options)
    np.testing.assert_array_equal(out, np.concatenate([plain.batch(1, index)[0] for index in range(len(plain))]))
    assert masks.dtype == np.int32


@pytest.mark.parametrize(
    ("changes", "shape", "dtype", "message"),
    [
        ({"pad": 1, "cutout": 2}, (8, 3), "uint8", r"augment.pad=0, augment.cutout=0 for inputs that are not images"),
        ({"mixup": 0.1}, (9,), "float32", r"augment.mixup=0.0 for .* Received: augment.mixup=0.1, and float32 inputs"),
        ({"rand_ops": 1}, (8, 8, 3), "float32", "augment.rand_ops=0 for images other than uint8, grey or RGB"),
        ({"rand_ops": 1}, (8, 8, 4), "uint8", "augment.rand_ops=0 for images other than uint8, grey or RGB"),
        (
            {"crop_area": (0.1, 1.0), "hue": 0.1},
            (8, 8, 4),
            "uint8",
            r"augment.crop_area=\(\), augment.hue=0.0 for images",
        ),
        (
            {"hue": 0.1, "contrast": 0.1},
            (8, 8, 1),
            "uint8",
            r"augment.hue=0.0 for grey images. Received: augment.hue=0.1",
        ),
    ],
)
def test_changes_that_are_for_images_are_refused_for_other_arrays(changes, shape, dtype, message):
    with pytest.raises(ValueError, match=message):
        batches(Augmentation(**changes), np.ones((40, *shape), dtype))


@pytest.mark.parametrize("change", [{"mixup": 0.1}, {"cutmix": 1.0}, {"rand_ops": 1}, {"sizes": ((0.0, 4),)}])
def test_changes_that_a_mask_cannot_follow_are_refused(change):
    (name,) = change
    with pytest.raises(ValueError, match=f"Expected augment.{name}=.* for segmentation, since a mask cannot follow"):
        masked(Augmentation(**change))


WRONG = [
    {"pad": -1},
    {"pad": 1.0},
    {"pad": True},
    {"pad_mode": "wrap"},
    {"flip": 1},
    {"flip": "alternate"},
    {"cutout": -1},
    {"rand_ops": 0.5},
    {"rand_magnitude": 11},
    {"mixup": -0.1},
    {"mixup": float("nan")},
    {"cutmix": float("inf")},
    {"cutmix": "1"},
    {"crop_area": (0.0, 1.0)},
    {"crop_area": (0.5, 1.1)},
    {"crop_area": (0.5, 0.4)},
    {"crop_area": 0.5},
    {"crop_ratio": (0.5,)},
    {"crop_ratio": ()},
    {"crop_interpolation": "cubic"},
    {"brightness": 1.1},
    {"contrast": -0.1},
    {"saturation": "0.4"},
    {"hue": 0.6},
    {"lighting": -1},
    {"erasing": 2},
    {"erasing_area": (0.02, float("nan"))},
    {"erasing_ratio": (0, 1)},
    {"erasing_fill": "random"},
    {"mix_probability": 1.5},
    {"cutmix_probability": True},
]


@pytest.mark.parametrize("option", WRONG, ids=str)
def test_wrong_settings_are_refused(option):
    ((name, value),) = option.items()
    with pytest.raises(ValueError, match=f"Expected {name} to be .* Received: {name}={re.escape(repr(value))}"):
        Augmentation(**option)
