"""Images as a network sees them: each kind that is taken, each way to resize, and each that is refused."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from export.images import BadImage, ImageReader

BICUBIC = Image.Resampling.BICUBIC


@pytest.fixture(scope="module")
def photo():
    """A photo of 427x640 pixels (height x width)."""
    return load_sample_image("china.jpg")


def encode(pixels, form="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def resized(pixels, height, width, interpolation=BICUBIC):
    return np.asarray(Image.fromarray(pixels).resize((width, height), interpolation))


def test_crop_keeps_the_proportions(photo):
    # 96 / 427 * 640 = 143.8 columns, of which the middle 96 stay: (143 - 96) / 2 = 23.5, rounded to the even 24.
    expected = resized(photo, 96, 143)[:, 24 : 24 + 96]
    np.testing.assert_array_equal(ImageReader((96, 96))(photo), expected)
    upright = np.ascontiguousarray(photo.transpose(1, 0, 2))
    np.testing.assert_array_equal(ImageReader((96, 96))(upright), resized(upright, 143, 96)[24 : 24 + 96])


@pytest.mark.parametrize(
    ("size", "before", "top", "left"),
    [
        # 160 columns of 640 leave 427 / 4 = 106.75 rows.
        ((50, 160), (106, 160), 28, 0),
        # 120 rows of 427 leave 179.9 columns.
        ((120, 60), (120, 179), 0, 60),
    ],
)
def test_crop_to_other_proportions_cuts_as_little_as_possible(photo, size, before, top, left):
    expected = resized(photo, *before)[top : top + size[0], left : left + size[1]]
    np.testing.assert_array_equal(ImageReader(size)(photo), expected)


def test_the_shorter_side_before_the_crop_is_as_in_torchvision(photo):
    # torchvision's Resize(256) makes 256 x int(256 * 640 / 427), and its CenterCrop(224) starts at round(. / 2).
    expected = resized(photo, 256, 383, Image.Resampling.BILINEAR)[16 : 16 + 224, 80 : 80 + 224]
    np.testing.assert_array_equal(ImageReader((224, 224), shorter=256, interpolation="bilinear")(photo), expected)


def test_shorter_crops_an_image_that_has_the_size_already():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), "uint8")
    np.testing.assert_array_equal(ImageReader((8, 8), shorter=10)(pixels), resized(pixels, 10, 10)[1:9, 1:9])
    np.testing.assert_array_equal(ImageReader((8, 8))(pixels), pixels)


def test_stretch_takes_the_whole_image(photo):
    np.testing.assert_array_equal(ImageReader((96, 64), resize="stretch")(photo), resized(photo, 96, 64))


def test_channels_are_grey_or_rgb(photo):
    grey = np.asarray(Image.fromarray(photo).convert("L"))
    np.testing.assert_array_equal(ImageReader(channels=1)(photo), grey[..., None])
    np.testing.assert_array_equal(ImageReader()(grey), np.repeat(grey[..., None], 3, -1))
    assert ImageReader(channels=None)(grey).shape == (427, 640, 1)
    assert ImageReader(channels=None)(photo).shape == (427, 640, 3)
    np.testing.assert_array_equal(ImageReader((48, 64), 1)(photo), resized(grey, 48, 71)[:, 4 : 4 + 64, None])


def test_an_image_may_be_a_path_bytes_an_image_or_an_array(photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the picture is at the right
    data = encode(np.ascontiguousarray(np.rot90(photo)), exif=exif)
    (tmp_path / "photo.png").write_bytes(data)
    opened = Image.open(io.BytesIO(data))
    reader = ImageReader((40, 60))
    kinds = (tmp_path / "photo.png", str(tmp_path / "photo.png"), data, memoryview(data), opened, photo)
    for image in kinds:
        np.testing.assert_array_equal(reader(image), resized(photo, 40, 59 + 1)[:, :60])
    assert opened.size == (427, 640), "an image of the caller stays as it is and open"


def test_transparent_pixels_of_an_array_are_white():
    pixels = np.zeros((2, 2, 4), "uint8")
    pixels[0, 0] = 10, 20, 30, 255
    expected = np.full((2, 2, 3), 255)
    expected[0, 0] = 10, 20, 30
    np.testing.assert_array_equal(ImageReader()(pixels), expected)


def test_16_bits_become_the_nearest_of_8():
    wide = np.arange(2**16, dtype="uint16").reshape(256, 256)
    for image in (encode(wide), encode(wide, "TIFF")):
        np.testing.assert_array_equal(ImageReader(channels=1)(image)[..., 0], np.rint(wide / 257))


def test_a_transparent_image_in_grey_stays_grey():
    grey = Image.fromarray(np.full((3, 2), 70, "uint8"))
    grey.putalpha(Image.fromarray(np.array([[255, 0]] * 3, "uint8")))
    assert grey.mode == "LA"
    file = io.BytesIO()
    grey.save(file, "PNG")
    for image in (grey, file.getvalue()):
        np.testing.assert_array_equal(ImageReader(channels=None)(image), [[[70], [255]]] * 3)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "empty file"),
        (b"no image", "not an image, or in an unknown format"),
        (encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), "uint8"), "JPEG")[:900], "truncated"),
        (encode(np.zeros((9000, 8000), bool)), "8000x9000 pixels, more than"),
        (encode(np.zeros((1, 3000), "uint8")), "3000x1 pixels, too long and narrow"),
    ],
)
def test_bad_images_are_refused_with_the_cause(data, cause, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(data)
    for image in (data, tmp_path / "bad.jpg"):
        with pytest.raises(BadImage, match=cause):
            ImageReader((224, 224))(image)


@pytest.mark.parametrize(
    ("image", "received"),
    [
        (np.zeros((4, 4, 3), "float32"), r"float32 of shape \(4, 4, 3\)"),
        (np.zeros((2, 4, 4, 3), "uint8"), r"shape \(2, 4, 4, 3\)"),
        (np.zeros((4, 4, 2), "uint8"), r"shape \(4, 4, 2\)"),
        (np.zeros((0, 4, 3), "uint8"), r"shape \(0, 4, 3\)"),
        (7, "int"),
    ],
)
def test_what_is_no_image_is_refused(image, received):
    with pytest.raises(ValueError, match=f"Expected an image as .* Received: .*{received}"):
        ImageReader()(image)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("size", {"size": (8,)}),
        ("size", {"size": (8, 0)}),
        ("size", {"size": (8, True)}),
        ("channels", {"channels": 2}),
        ("resize", {"resize": "squash"}),
        ("interpolation", {"interpolation": "cubic"}),
        ("shorter", {"size": (8, 9), "shorter": 8}),
        ("shorter", {"shorter": 8}),
        ("shorter", {"size": (8, 8), "resize": "stretch", "shorter": 9}),
    ],
)
def test_wrong_values_are_refused(name, values):
    with pytest.raises(ValueError, match=f"Expected {name} to be .* Received: {name}="):
        ImageReader(**values)


@pytest.mark.parametrize(
    "reader", [ImageReader(), ImageReader((224, 192), 1, "crop", 256, "lanczos"), ImageReader((8, 8), resize="stretch")]
)
def test_a_reader_is_plain_data(reader):
    assert ImageReader.from_dict(json.loads(json.dumps(reader.to_dict()))) == reader


def test_unknown_data_are_refused():
    with pytest.raises(ValueError, match=r"Expected a reader of images with the fields .* Received: \['sizes'\]"):
        ImageReader.from_dict({"sizes": [8, 8]})


def test_without_pillow_it_says_how_to_install_it():
    code = "import sys; sys.modules['PIL'] = None\nfrom export.images import ImageReader\nImageReader((8, 8))(b'')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].startswith("ImportError: Reading images needs Pillow: pip install pillow")
