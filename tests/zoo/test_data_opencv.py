"""Random-resized crops by simplejpeg and OpenCV."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

import zoo
from export.images import ImageReader
from zoo.data import Augmentation
from zoo.data.augmentation.checks import check_augmentation
from zoo.data.streaming import opencv
from zoo.data.streaming.photos import Photos
from zoo.tasks import task_of

cv2 = pytest.importorskip("cv2")
pytest.importorskip("simplejpeg")
PHOTO = load_sample_image("china.jpg")
BOX = (30, 50, 120, 160)


def encode(pixels=PHOTO, form="JPEG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


class InMemory:
    def __init__(self, *contents):
        self.contents = contents

    def __len__(self):
        return len(self.contents)

    def read(self, place):
        return self.contents[place]

    def name(self, place):
        return f"photo {place}"


def cropped(data, interpolation, size=(60, 80), channels=3):
    photos = Photos(InMemory(data), ImageReader(size, channels))
    return photos.cropped([0], lambda place, height, width: BOX, size, interpolation)[0]


def bilinear(pixels, size):
    """Bilinear interpolation between the centres of pixels."""
    old = pixels.shape[:2]
    rows, columns = (np.clip((np.arange(n) + 0.5) * o / n - 0.5, 0, o - 1) for n, o in zip(size, old, strict=True))
    (top, left), values = (np.floor(rows).astype(int), np.floor(columns).astype(int)), pixels.astype(float)
    bottom, right = np.minimum(top + 1, pixels.shape[0] - 1), np.minimum(left + 1, pixels.shape[1] - 1)
    down, across = (rows - top)[:, None, None], (columns - left)[None, :, None]
    upper = values[top][:, left] * (1 - across) + values[top][:, right] * across
    lower = values[bottom][:, left] * (1 - across) + values[bottom][:, right] * across
    return upper * (1 - down) + lower * down


def test_a_box_is_interpolated_between_the_pixels_that_pillow_decodes():
    data = encode(quality=90)
    decoded = np.asarray(Image.open(io.BytesIO(data)))
    top, left, tall, wide = BOX
    # Larger than half of the box, so that the JPEG is decoded at its own size.
    found = cropped(data, "opencv", (70, 90))
    expected = bilinear(decoded[top : top + tall, left : left + wide], (70, 90))
    np.testing.assert_allclose(found, expected, atol=1.5)


def test_a_jpeg_is_decoded_at_the_scale_that_the_box_needs():
    data = encode(quality=90)
    opened = Image.open(io.BytesIO(data))
    opened.draft("RGB", (PHOTO.shape[1] // 4, PHOTO.shape[0] // 4))
    quarter = np.asarray(opened)
    assert quarter.shape[0] < PHOTO.shape[0] / 3.9
    # The pixels that the box touches.
    expected = bilinear(quarter[7:38, 12:53], (30, 40))
    np.testing.assert_allclose(cropped(data, "opencv", (30, 40)), expected, atol=1.5)


ON_ITS_SIDE = b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"


@pytest.mark.parametrize(
    ("options", "channels"),
    [({"form": "PNG"}, 3), ({"pixels": PHOTO[..., 0]}, 3), ({}, 1), ({"exif": ON_ITS_SIDE}, 3)],
    ids=["png", "grey", "to grey", "on its side"],
)  # fmt: skip
def test_pillow_reads_other_files(options, channels):
    data = encode(**options)
    np.testing.assert_array_equal(
        cropped(data, "opencv", channels=channels), cropped(data, "bilinear", channels=channels)
    )


def test_a_damaged_jpeg_is_refused_by_name():
    with pytest.raises(ValueError, match="Expected images that can be read.*Received: photo 0"):
        cropped(encode()[:3000], "opencv")


def test_what_it_needs_is_checked_early(monkeypatch):
    changes, task = Augmentation(crop_area=(0.1, 1.0), crop_interpolation="opencv"), task_of("classification")
    with pytest.raises(ValueError, match="crop_interpolation='opencv'.*uint8 inputs"):
        check_augmentation(changes, zoo.load_source("digits").train_inputs.repeat(3, -1).astype("uint8"), task)
    photos = Photos(InMemory(encode()), ImageReader((60, 80)))
    check_augmentation(changes, photos, task)
    monkeypatch.setattr(opencv, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="Expected opencv-python-headless and simplejpeg to be installed"):
        check_augmentation(changes, photos, task)
