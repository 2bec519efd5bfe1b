"""Alternating flips and progressive resizing: what an epoch sees."""

import numpy as np
import pytest
from PIL import Image

from tests.zoo.augmented import batches, images, whole
from zoo.data import Augmentation
from zoo.data.augmentation.transforms import resize


def test_each_image_is_mirrored_in_every_other_epoch():
    data = images(400, (2, 3, 1))
    found = batches(Augmentation(flip="alternating"), data)
    seen = []
    for epoch in range(4):
        order = found.order(epoch)
        pixels = np.concatenate([found.batch(epoch, index)[0] for index in range(len(found))])
        mirrored = np.array([np.array_equal(new, old[:, ::-1]) for new, old in zip(pixels, data[order], strict=True)])
        seen.append(mirrored[np.argsort(order)])
    palindromes = np.array([np.array_equal(image, image[:, ::-1]) for image in data])
    assert palindromes.sum() < 10
    for one, other in ((0, 1), (1, 2)):
        assert (seen[one] ^ seen[other])[~palindromes].all()
    np.testing.assert_array_equal(seen[0], seen[2])
    assert seen[0].mean() == pytest.approx(0.5, abs=0.08)
    other, _ = whole(Augmentation(flip="alternating"), data, seed=4)
    mine, _ = whole(Augmentation(flip="alternating"), data)
    assert not np.array_equal(other, mine)


@pytest.mark.parametrize("new", [4, 5, 13, 20, 32])
@pytest.mark.parametrize("shape", [(20, 20, 1), (20, 30, 3)])
def test_resizing_agrees_with_pillow(new, shape):
    data = np.random.default_rng(0).normal(size=(3, *shape)).astype("float32")
    out = resize(data, new)
    width = round(shape[1] * new / 20)
    assert out.shape == (3, new, width, shape[2])
    assert out.dtype == np.float32
    for image, found in zip(data, out, strict=True):
        for channel in range(shape[2]):
            expected = Image.fromarray(image[..., channel]).resize((width, new), Image.Resampling.BILINEAR)
            np.testing.assert_allclose(found[..., channel], np.asarray(expected), atol=1e-5)


def test_sizes_change_at_their_fractions_of_the_run():
    data = batches(Augmentation(sizes=((0.25, 4), (0.55, 6))), epochs=20)
    heights = [data.batch(epoch, 0)[0].shape[1:3] for epoch in range(20)]
    assert heights == [(8, 10)] * 5 + [(4, 5)] * 6 + [(6, 8)] * 9
    assert batches(Augmentation(sizes=((0.0, 4),)), seed=None).batch(0, 0)[0].shape == (60, 8, 10, 3)


def test_images_are_resized_after_everything_else():
    options = {"pad": 2, "flip": True, "rand_ops": 1, "cutout": 3, "mixup": 0.5}
    full, labels = batches(Augmentation(**options)).batch(3, 1)
    small, same = batches(Augmentation(**options, sizes=((0.0, 5),))).batch(3, 1)
    np.testing.assert_array_equal(small, resize(full, 5))
    np.testing.assert_array_equal(same, labels)


def test_images_are_never_enlarged():
    with pytest.raises(
        ValueError, match=r"at most the height of the images, 8. Received: augment.sizes=\(\(0.0, 9\),\)"
    ):
        batches(Augmentation(sizes=((0.0, 9),)))


@pytest.mark.parametrize(
    "sizes", [8, "8", (8,), ((0.0, 8.0),), ((0.0, 0),), ((1.0, 8),), ((0.5, 8), (0.5, 9)), [[-0.1, 8]]]
)
def test_wrong_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match="Expected sizes to be pairs of a fraction of the run.* Received: sizes="):
        Augmentation(sizes=sizes)
