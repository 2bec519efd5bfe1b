"""Random-resized crops, colour jitter, lighting noise and random erasing, by what defines each."""

import colorsys

import numpy as np
import pytest
from PIL import Image

import zoo
from export.images import INTERPOLATIONS as FILTERS
from tests.zoo.augmented import PLAIN, batches, images, whole
from zoo.data import Augmentation
from zoo.data.augmentation import INTERPOLATIONS, colours
from zoo.data.augmentation.boxes import crop_and_resize, crop_box, draw_boxes
from zoo.data.source import Preprocessing


def assert_uniform(values, least, most):
    """Kolmogorov and Smirnov's test, at a level of about 1 in 10,000."""
    ordered = (np.sort(values) - least) / (most - least)
    distance = np.abs(ordered - (np.arange(len(values)) + 0.5) / len(values)).max()
    assert distance < 2.2 / np.sqrt(len(values)), f"{distance}, from {ordered[0]} to {ordered[-1]}"


def boxes(height, width, area, ratio, count=3000):
    draws = draw_boxes(np.random.default_rng(0), count, np.arange(count))
    return np.array([crop_box(row, height, width, area, ratio) for row in draws])


def test_areas_ratios_and_places_of_boxes_are_uniform():
    top, left, tall, wide = boxes(4000, 3000, (0.1, 0.4), (0.4, 1.25)).T
    assert_uniform(tall * wide / 12e6, 0.1, 0.4)
    assert_uniform(np.log(wide / tall), np.log(0.4), np.log(1.25))
    assert_uniform((top + 0.5) / (4000 - tall + 1), 0, 1)
    assert_uniform((left + 0.5) / (3000 - wide + 1), 0, 1)
    assert abs(np.corrcoef([top, left, tall * wide, wide / tall]) - np.eye(4)).max() < 0.4


@pytest.mark.parametrize("shape", [(5, 7), (1, 1), (300, 20), (3, 90)])
def test_boxes_lie_inside_and_reach_every_edge(shape):
    height, width = shape
    top, left, tall, wide = boxes(height, width, (0.01, 0.1), (3 / 4, 4 / 3)).T
    assert min(tall.min(), wide.min()) >= 1
    for start, side, size in ((top, tall, height), (left, wide, width)):
        assert (start.min(), (start + side).max()) == (0, size)
        if (smaller := side < size).any():
            assert (start[smaller] + side[smaller]).max() == size


@pytest.mark.parametrize(
    ("shape", "area", "expected"),
    [
        # No box of at least half of such long images has an allowed ratio: a centred one as large as can be.
        ((10, 100), (0.5, 1.0), (0, 43, 10, 13)),
        ((100, 10), (0.5, 1.0), (43, 0, 13, 10)),
        ((90, 100), (1.0, 1.0), None),
    ],
)
def test_an_image_that_no_box_fits_gives_its_centre(shape, area, expected):
    found = {tuple(box) for box in boxes(*shape, area, (3 / 4, 4 / 3), 50).tolist()}
    assert found == {expected or (0, 0, *shape)} if expected else (0, 0, *shape) in found


def test_a_crop_is_averaged_over_the_pixels_of_its_box():
    data = images(3, (8, 12, 3))
    out = crop_and_resize(data, np.array([2, 0]), lambda place, *shape: (2 * place, 4, 6, 8), (3, 4), "box")
    for found, image, top in zip(out, data[[2, 0]], (0, 2), strict=True):
        cut = image[top : top + 6, 4:12].reshape(3, 2, 4, 2, 3).mean((1, 3))
        np.testing.assert_allclose(found, cut, atol=1)  # rounded after each side
    assert out.dtype == np.uint8


@pytest.mark.parametrize("channels", [1, 3])
def test_a_crop_of_the_whole_image_is_pillows_resizing(channels):
    data = images(2, (9, 11, channels))
    for name in ("nearest", "bilinear", "bicubic", "lanczos"):
        out = crop_and_resize(data, np.arange(2), lambda place, height, width: (0, 0, height, width), (5, 20), name)
        for found, image in zip(out, data, strict=True):
            expected = Image.fromarray(image.squeeze()).resize((20, 5), Image.Resampling[name.upper()])
            np.testing.assert_array_equal(found.squeeze(), expected)


def ramps(height=200, width=240):
    """An image whose pixels say in which row and column they are."""
    row, column = np.mgrid[:height, :width]
    return np.dstack([row, column, 0 * row]).astype("uint8")


@pytest.mark.parametrize(("sizes", "shape"), [((), (200, 240)), (((0.0, 40),), (40, 48))])
def test_batches_contain_random_crops_of_the_size_of_the_epoch(sizes, shape):
    count = 1000 if sizes else 40
    augmentation = Augmentation(crop_area=(0.1, 0.5), crop_ratio=(0.8, 1.25), sizes=sizes)
    out, labels = whole(augmentation, np.broadcast_to(ramps(), (count, 200, 240, 3)))
    assert out.shape == (count, *shape, 3)
    np.testing.assert_array_equal(labels.argmax(1), np.arange(count) % 7)
    # Away from its edges a box is stretched evenly, so that the ramps say how large it was.
    tall = (out[:, -3, 5, 0] - out[:, 2, 5, 0]) / (shape[0] - 5) * shape[0]
    wide = (out[:, 5, -3, 1] - out[:, 5, 2, 1]) / (shape[1] - 5) * shape[1]
    assert out[..., 1].max() > 230 and out[..., 0].max() > 190
    if sizes:
        assert_uniform(tall * wide / 48000, 0.1, 0.5)
        assert_uniform(np.log(wide / tall), np.log(0.8), np.log(1.25))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos of ramps, those of one class twice as large."""
    root = tmp_path_factory.mktemp("photos")
    for name, scale in (("small", 1), ("large", 2)):
        photo = Image.fromarray(ramps()).resize((240 * scale, 200 * scale), Image.Resampling.NEAREST)
        for part, count in (("train", 20), ("test", 1)):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                photo.save(root / part / name / f"{number}.png")
    return root


CROP = {"crop_area": (0.05, 0.5), "crop_ratio": (0.8, 1.25)}


def test_photos_are_cut_from_the_originals_as_arrays_are(folder):
    source = zoo.load_source(folder, image_size=(40, 48), stream=True)
    small = np.flatnonzero(source.train_targets == source.class_names.index("small"))
    originals = np.broadcast_to(ramps(), (len(small), 200, 240, 3))
    for changes in (CROP, {**CROP, "flip": True, "brightness": 0.4, "erasing": 0.5, "mixup": 0.2}):
        found, _ = batches(Augmentation(**changes), source.train_inputs.select(small), size=8, processes=0).batch(2, 1)
        expected, _ = batches(Augmentation(**changes, sizes=((0.0, 40),)), originals, size=8).batch(2, 1)
        np.testing.assert_array_equal(found, expected)


def test_photos_of_any_size_are_cut_to_the_size_of_the_epoch(folder):
    source = zoo.load_source(folder, image_size=(40, 48), stream=True)
    augmentation = Augmentation(**CROP, sizes=((0.0, 20), (0.5, 40)))
    data = [source.train_inputs, source.train_targets, 2, PLAIN, 40]
    options = {"seed": 0, "augmentation": augmentation, "epochs": 40, "processes": 0}
    found = zoo.Batches(*data, **options)
    shares = {0: [], 1: []}
    for epoch, height in ((0, 20), (1, 20), (20, 40)):
        pixels, labels = found.batch(epoch, 0)
        assert pixels.shape == (40, height, height * 6 // 5, 3)
        tall = (pixels[:, -3, 5, 0] - pixels[:, 2, 5, 0]) / (height - 5) * height / 200
        wide = (pixels[:, 5, -3, 1] - pixels[:, 5, 2, 1]) / (pixels.shape[2] - 5) * pixels.shape[2] / 240
        for label, share in zip(labels.argmax(1), tall * wide, strict=True):
            shares[label].append(share)
        halves = [zoo.Batches(*data, **options, shard=(rank, 2)) for rank in (0, 1)]
        np.testing.assert_array_equal(np.concatenate([half.batch(epoch, 0)[0] for half in halves]), pixels)
    for measured in shares.values():
        assert_uniform(np.array(measured), 0.05, 0.5)


def test_a_photo_is_decoded_at_the_scale_of_its_box(tmp_path):
    """A JPEG gives about the pixels of the same image without loss."""
    row, column = np.mgrid[:480, :640]
    waves = np.dstack([127 + 120 * np.sin(row / 40), 127 + 120 * np.cos(column / 50), (row + column) / 5]).astype(
        "uint8"
    )
    found = {}
    for suffix in ("jpg", "png"):
        for part in ("train", "test"):
            (tmp_path / suffix / part / "a").mkdir(parents=True)
            (tmp_path / suffix / part / "b").mkdir()
            for number in range(12):
                path = tmp_path / suffix / part / "ab"[number % 2] / f"{number}.{suffix}"
                Image.fromarray(waves).save(path, **({"quality": 95} if suffix == "jpg" else {}))
        source = zoo.load_source(tmp_path / suffix, image_size=(32, 32), stream=True)
        found[suffix], _ = batches(
            Augmentation(crop_area=(0.05, 1.0)), source.train_inputs, size=12, processes=0
        ).batch(0, 0)
    assert np.abs(found["jpg"] - found["png"]).mean() < 2
    assert found["png"].std() > 40


def segmented(augmentation, masks):
    """A batch of images, where pixels of the class c have the value 10 c + 7, and masks."""
    options = {"seed": 3, "augmentation": augmentation, "task": "segmentation"}
    return zoo.Batches(10 * masks[..., None] + 7, masks, 5, PLAIN, len(masks), **options).batch(0, 0)


def test_masks_are_cut_and_resized_with_their_images():
    masks = np.random.default_rng(0).integers(0, 5, (60, 16, 20), dtype="uint8")
    augmentation = Augmentation(crop_area=(0.2, 1.0), crop_interpolation="nearest", flip=True, sizes=((0.0, 8),))
    out, labels = segmented(augmentation, masks)
    assert labels.shape == (60, 8, 10)
    np.testing.assert_array_equal(out[..., 0], 10 * labels + 7)


def test_photos_whose_masks_have_another_size_are_not_cut(folder):
    source = zoo.load_source(folder, image_size=(8, 8), stream=True)
    with pytest.raises(ValueError, match=r"crop_area=\(\) for streamed photos, whose masks are not streamed"):
        batches(Augmentation(crop_area=(0.2, 1.0)), source.train_inputs, task="segmentation")


def test_brightness_multiplies():
    data = np.broadcast_to(np.uint8([20, 60, 150]), (2000, 2, 2, 3))
    out, _ = whole(Augmentation(brightness=0.6), data)
    factors = out[:, 0, 0, 2] / 150
    np.testing.assert_allclose(out, np.broadcast_to(data * factors[:, None, None, None], out.shape), atol=1)
    assert_uniform(factors, 0.4, 1.6)


def test_contrast_multiplies_the_distance_from_the_mean():
    data = np.zeros((1500, 2, 4, 3), "uint8")
    data[:, 0], data[:, 1] = 80, 160
    out, _ = whole(Augmentation(contrast=0.5), data)
    np.testing.assert_allclose(out.mean((1, 2, 3)), 120, atol=1)
    assert_uniform((out[:, 1, 0, 0] - out[:, 0, 0, 0]) / 80, 0.5, 1.5)


def test_saturation_multiplies_the_distance_from_grey():
    data = np.broadcast_to(np.uint8([140, 100, 90]), (1500, 2, 2, 3))
    out, _ = whole(Augmentation(saturation=1.0), data)
    grey = np.dot([140, 100, 90], [0.299, 0.587, 0.114])
    np.testing.assert_allclose(out @ np.float32([0.299, 0.587, 0.114]), grey, atol=1.5)
    assert_uniform((out[:, 0, 0, 0] - out[:, 0, 0, 2]) / 50, 0, 2)


def test_the_hue_turns():
    data = np.zeros((1500, 1, 2, 3), "uint8")
    data[:, 0, 0], data[:, 0, 1] = (200, 40, 40), (30, 90, 180)
    out, _ = whole(Augmentation(hue=0.2), data)
    found = np.array([[colorsys.rgb_to_hsv(*pixel) for pixel in row] for row in out[:, 0]])
    expected = [colorsys.rgb_to_hsv(*pixel) for pixel in data[0, 0].tolist()]
    turns = (found[..., 0] - [hue for hue, _, _ in expected] + 0.5) % 1 - 0.5
    np.testing.assert_allclose(turns[:, 0], turns[:, 1], atol=0.02)
    assert_uniform(turns[:, 0], -0.2, 0.2)
    for place in (1, 2):
        wanted = np.broadcast_to([colour[place] for colour in expected], (1500, 2))
        np.testing.assert_allclose(found[..., place], wanted, rtol=0.02)


def test_colours_change_in_every_order(monkeypatch):
    seen = []

    def noted(name):
        def change(image, value):
            seen.append(name)
            return image

        return change

    monkeypatch.setattr(colours, "_CHANGES", {name: noted(name) for name in colours._CHANGES})
    data = images(2400)
    out, _ = whole(Augmentation(brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1), data)
    np.testing.assert_array_equal(out, data)
    orders, counts = np.unique(np.array(seen).reshape(-1, 4), axis=0, return_counts=True)
    assert len(orders) == 24
    assert counts.min() > 60 and counts.max() < 145
    seen.clear()
    whole(Augmentation(hue=0.1), data)
    assert set(seen) == {"hue"}


def test_colour_jitter_takes_grey_images_and_keeps_the_range_of_digits():
    data = np.random.default_rng(0).integers(0, 17, (300, 8, 8, 1), dtype="uint8")
    out, _ = whole(
        Augmentation(brightness=0.5, contrast=0.5), data, preprocessing=Preprocessing(1 / 16, (0.0,), (1.0,))
    )
    assert out.shape == data.shape
    assert out.min() == 0 and out.max() == 1
    assert 0.8 < out.mean() / (data.mean() / 16) < 1.1  # the brightest pixels are cut off


def test_lighting_is_noise_along_the_principal_components_of_colours():
    out, _ = whole(Augmentation(lighting=0.3), np.full((4000, 2, 2, 3), 128, "uint8"))
    assert (np.ptp(out, axis=(1, 2)) == 0).all()
    values, vectors = np.linalg.eigh(np.cov(out[:, 0, 0].T - 128))
    # AlexNet's, as torch's example has them: the standard deviation along each is 255 * 0.3 * its variance.
    known = ((0.0188, (0.7192, -0.0045, -0.6948)), (0.2175, (-0.5675, -0.5808, -0.5836)))
    for place, (value, component) in enumerate(known, 1):
        assert np.sqrt(values[place]) == pytest.approx(255 * 0.3 * value, rel=0.05)
        assert abs(vectors[:, place] @ component) > 0.999
    assert abs(out.mean() - 128) < 1


def erased(out, data):
    """Where images were changed, after a check that it is one box in each."""
    cut = (out != data).any(-1)
    np.testing.assert_array_equal(cut.sum((1, 2)), cut.any(2).sum(1) * cut.any(1).sum(1))
    return cut


def test_a_share_of_the_images_loses_a_box_of_random_area_and_ratio():
    data = np.full((2500, 50, 60, 3), 255, "uint8")
    augmentation = Augmentation(erasing=0.6, erasing_area=(0.05, 0.3), erasing_ratio=(0.5, 2.0))
    out, labels = whole(augmentation, data)
    cut = erased(out, data)
    assert (out[cut] == 0).all()
    chosen = cut.any((1, 2))
    assert chosen.mean() == pytest.approx(0.6, abs=0.04)
    tall, wide = cut[chosen].any(2).sum(1), cut[chosen].any(1).sum(1)
    assert_uniform(tall * wide / 3000, 0.05, 0.3)
    assert_uniform(np.log(wide / tall), np.log(0.5), np.log(2))
    top = cut[chosen].any(2).argmax(1)
    assert_uniform((top + 0.5) / (50 - tall + 1), 0, 1)
    np.testing.assert_array_equal(labels.argmax(1), np.arange(2500) % 7)


def test_a_box_may_be_filled_with_noise():
    data = images(200, (20, 20, 3))
    out, _ = whole(Augmentation(erasing=1.0, erasing_fill="noise"), data)
    cut = erased(out, data)
    noise = out[cut]
    assert (noise.mean(), noise.std()) == (pytest.approx(0, abs=0.02), pytest.approx(1, abs=0.02))
    assert len(np.unique(noise)) > 0.99 * noise.size


def test_masks_ignore_a_box_that_is_filled_with_noise():
    masks = np.random.default_rng(0).integers(0, 5, (60, 16, 20), dtype="uint8")
    out, labels = segmented(Augmentation(erasing=1.0, erasing_fill="noise"), masks)
    known = labels != 255
    np.testing.assert_array_equal(out[..., 0][known], 10 * labels[known] + 7)
    assert 0.02 < (~known).mean() < 0.4
    assert out[..., 0][~known].std() == pytest.approx(1, abs=0.05)


def test_crops_take_the_filters_of_the_image_reader():
    assert (*FILTERS, "opencv") == INTERPOLATIONS
