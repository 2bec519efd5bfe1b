"""RandAugment: its operations beside Pillow's, and how it chooses among them."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

import zoo
from tests.zoo.augmented import batches, images, whole
from zoo.data import Augmentation
from zoo.data.augmentation.rand_augment import OPERATIONS


def apply(name, image, strength):
    """An operation on one Pillow image."""
    pixels = np.asarray(image).reshape(1, image.height, image.width, -1)
    (out,) = OPERATIONS[name](pixels, np.array([strength], "float64"))
    assert (out.dtype, out.shape) == (np.uint8, pixels.shape[1:])
    return out.reshape(np.asarray(image).shape)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_operations_keep_size_and_mode_and_do_little_at_little_strength(name, mode):
    steps = np.linspace(0, 3.9, 24 * 20).reshape(24, 20).astype("uint8") * 85
    image = Image.fromarray(np.dstack([steps, steps[::-1], steps[:, ::-1]])).convert(mode)
    for strength in (-1, 1):
        changed = apply(name, image, strength)
        if name not in ("identity", "auto_contrast", "equalize") and (name, mode) != ("colour", "L"):
            assert not np.array_equal(changed, image)
    if name not in ("auto_contrast", "equalize"):
        np.testing.assert_array_equal(apply(name, image, 0), image)


PILLOWS = {
    "auto_contrast": lambda image, strength: ImageOps.autocontrast(image),
    "equalize": lambda image, strength: ImageOps.equalize(image),
    "posterize": lambda image, strength: ImageOps.posterize(image, 8 - round(4 * abs(strength))),
    "solarize": lambda image, strength: ImageOps.solarize(image, round(256 * (1 - abs(strength)))),
    "colour": lambda image, strength: ImageEnhance.Color(image).enhance(1 + 0.9 * strength),
    "contrast": lambda image, strength: ImageEnhance.Contrast(image).enhance(1 + 0.9 * strength),
    "brightness": lambda image, strength: ImageEnhance.Brightness(image).enhance(1 + 0.9 * strength),
}


@pytest.mark.parametrize("name", PILLOWS)
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("strength", [-1.0, 0.3, 0.75])
def test_operations_on_arrays_are_those_of_pillow(name, mode, strength):
    rng = np.random.default_rng(0)
    for low, high in ((0, 256), (40, 130), (77, 78)):
        image = Image.fromarray(rng.integers(low, high, (16, 20, 3), dtype="uint8")).convert(mode)
        expected = np.asarray(PILLOWS[name](image, strength)).astype(int)
        np.testing.assert_allclose(apply(name, image, strength), expected, atol=0 if name in EXACT else 2)


EXACT = ("equalize", "posterize", "solarize")


def test_shears_and_translations_move_by_what_is_said():
    image = Image.new("L", (20, 20))
    image.putpixel((10, 10), 255)
    for name, expected in (("translate_x", (10, 4)), ("translate_y", (4, 10))):
        moved = apply(name, image, 1.0)
        assert [tuple(place) for place in np.argwhere(moved == 255)] == [expected]
        assert (moved == 128).sum() == 6 * 20


def test_rand_augment_chooses_all_operations_alike_and_leaves_labels(monkeypatch):
    from zoo.data.augmentation import rand_augment

    counts = dict.fromkeys(OPERATIONS, 0)

    def counted(name):
        def change(images, strengths):
            counts[name] += len(images)
            np.testing.assert_allclose(abs(strengths), 0.9)
            return images

        return change

    monkeypatch.setattr(rand_augment, "OPERATIONS", {name: counted(name) for name in OPERATIONS})
    data = images(1400)
    out, labels = whole(Augmentation(rand_ops=2), data)
    np.testing.assert_array_equal(out, data)
    np.testing.assert_array_equal(labels.argmax(1), np.arange(1400) % 7)
    assert sum(counts.values()) == 2800
    assert min(counts.values()) > 140 and max(counts.values()) < 260


@pytest.mark.parametrize("most", [1, 16, 85])
def test_rand_augment_keeps_to_the_range_of_the_pixels(most):
    """What it does to pixels that end at 16 is what it does to the same images that end at 255."""
    data = np.random.default_rng(0).integers(0, most + 1, (200, 8, 8, 1), dtype="uint8")
    stretched = np.round(data * (255 / most)).astype("uint8")
    out, _ = whole(Augmentation(rand_ops=2), data, preprocessing=zoo.Preprocessing(1 / most, (0.0,), (1.0,)))
    expected, _ = whole(Augmentation(rand_ops=2), stretched, preprocessing=zoo.Preprocessing(1 / 255, (0.0,), (1.0,)))
    np.testing.assert_allclose(out, expected, atol=1e-6)
    assert out.min() >= 0 and out.max() == pytest.approx(1)


def test_rand_augment_refuses_pixels_of_an_unknown_range():
    with pytest.raises(ValueError, match=r"for rand_ops, .* Received: pixels up to 16, scale=1\.0$"):
        batches(Augmentation(rand_ops=1), np.full((8, 8, 8, 1), 16, "uint8"))
    batches(Augmentation(flip=True), np.full((8, 8, 8, 1), 16, "uint8"))


def test_rand_augment_takes_grey_images():
    out, _ = whole(Augmentation(rand_ops=3), images(64, (8, 8, 1)))
    assert out.shape == (64, 8, 8, 1)
