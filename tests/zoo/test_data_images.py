"""Image files as pixels: how each kind is converted, resized or refused."""

import dataclasses
import os
import struct
import sys
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

import zoo
from export.images import ImageReader
from tests.zoo.image_sets import SHAPE, as_folder, as_zip, data_set, encode, load, pixels

pytestmark = pytest.mark.usefixtures("own_cache")


def test_images_of_different_sizes_need_image_size(tmp_path):
    odd = data_set() | {"dog/9.png": encode(pixels(9, (7, 9, 3)))}
    path = as_folder(tmp_path, odd)
    with pytest.raises(ValueError, match=r"'cat/0.png' of 6x5 and 'dog/9.png' of 7x9") as caught:
        load(path)
    assert "image_size=(height, width)" in str(caught.value)
    source = load(path, image_size=(12, 8), resize="stretch")
    assert source.input_shape == (12, 8, 3)
    expected = Image.fromarray(pixels(9, (7, 9, 3))).resize((8, 12), Image.Resampling.BICUBIC)
    everything = [*source.train_inputs, *source.test_inputs]
    assert any(np.array_equal(image, expected) for image in everything)


def test_photos_are_cropped_or_stretched_and_the_source_says_how(tmp_path):
    wide = {f"{kind}/{n}.png": encode(pixels(n, (7, 9, 3))) for kind in ("cat", "dog") for n in range(5)}
    path = as_folder(tmp_path, wide)
    whole = [Image.fromarray(pixels(n, (7, 9, 3))) for n in range(5)]
    # 14 rows leave int(9 * 14 / 7) = 18 columns, of which the middle 14 stay.
    ways = {
        "crop": [np.asarray(image.resize((18, 14), Image.Resampling.BICUBIC))[:, 2:16] for image in whole],
        "stretch": [np.asarray(image.resize((14, 14), Image.Resampling.BICUBIC)) for image in whole],
    }
    for resize, expected in ways.items():
        source = zoo.load_source(path, image_size=(14, 14), resize=resize)
        everything = sorted(map(bytes, [*source.train_inputs, *source.test_inputs]))
        assert everything == sorted(map(bytes, expected * 2))
        assert source.image == ImageReader((14, 14), 3, resize)
        np.testing.assert_array_equal(source.image(path / "cat" / "0.png"), expected[0])
        recorded = source.as_dict()
        assert recorded["image"] == source.image.to_dict() and recorded["options"]["resize"] == resize
        np.testing.assert_array_equal(zoo.load_source(recorded).train_inputs, source.train_inputs)
    del recorded["options"]["resize"], recorded["image"]  # as in a record from before there was a choice
    old = zoo.load_source(recorded)
    assert old.image.resize == "stretch"
    np.testing.assert_array_equal(old.train_inputs, source.train_inputs)


def test_a_source_says_how_it_reads_images_if_its_pixels_are_those_of_files(tmp_path):
    assert load(as_folder(tmp_path, data_set())).image == ImageReader((6, 5), 3)
    assert zoo.load_source("digits").image is None and "image" not in zoo.load_source("digits").as_dict()
    images = np.random.default_rng(0).integers(0, 256, (20, 6, 5), "uint8")
    np.savez(tmp_path / "grey.npz", x_train=images, y_train=np.arange(20) % 2)
    assert zoo.load_source(tmp_path / "grey.npz").image == ImageReader((6, 5), 1)
    assert zoo.load_source(tmp_path / "grey.npz", image_size=(4, 4)).image == ImageReader((4, 4), 1)


def test_a_reader_of_other_images_is_refused():
    source = zoo.load_source("digits")
    with pytest.raises(ValueError, match=r"a reader that gives inputs of shape \(8, 8, 1\). Received: ImageReader\("):
        dataclasses.replace(source, image=ImageReader((8, 8), 3))


@pytest.mark.parametrize("size", [(8,), (0, 8), (8.0, 8), "ab", (8, 8, 3), 32])
def test_wrong_image_size_is_refused(size):
    with pytest.raises(ValueError, match="Expected image_size to be .* Received: image_size="):
        zoo.load_source("digits", image_size=size)


@pytest.mark.parametrize(
    "wrong",
    [
        {"split_seed": -1},
        {"split_seed": 0.5},
        {"test_fraction": 0},
        {"test_fraction": 1.0},
        {"on_bad_image": "x"},
        {"resize": "x"},
    ],
)
def test_wrong_options_are_refused(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"Expected {name} to be .* Received: {name}={value!r}"):
        zoo.load_source("digits", **wrong)


def test_image_size_holds_for_every_source():
    source = zoo.load_source("digits", image_size=(16, 12))
    assert source.input_shape == (16, 12, 1)
    assert source.validation_inputs is None


GREY = np.arange(30, dtype="uint8").reshape(6, 5) * 8


def with_alpha(colour, alpha):
    return Image.fromarray(np.dstack([colour, np.full(colour.shape[:2], alpha, "uint8")]))


def palette():
    image = Image.fromarray(GREY // 64).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    return image


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the picture is at the right
    return encode(Image.fromarray(np.rot90(pixels(0))), exif=exif)


CONVERTED = {
    "grey": (encode(GREY), GREY[..., None]),
    "one bit": (encode(Image.fromarray(GREY > 99)), np.uint8(GREY > 99)[..., None] * 255),
    "16 bits": (encode(GREY.astype("uint16") * 257), GREY[..., None]),
    "16 bits, tiff": (encode(GREY.astype("uint16") * 257, "TIFF"), GREY[..., None]),
    "16 bits, pgm": (encode(GREY.astype("uint16") * 257, "PPM"), GREY[..., None]),
    "opaque": (encode(with_alpha(pixels(0), 255)), pixels(0)),
    "transparent": (encode(with_alpha(pixels(0), 0)), np.full(SHAPE, 255)),
    "grey and transparent": (
        encode(Image.merge("LA", [Image.fromarray(GREY), Image.new("L", (5, 6))])),
        np.full((6, 5, 1), 255),
    ),
    "palette": (encode(palette()), np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90], [100, 110, 120]])[GREY // 64]),
    "palette with a transparent colour": (
        encode(palette(), transparency=0),
        np.array([[255, 255, 255], [40, 50, 60], [70, 80, 90], [100, 110, 120]])[GREY // 64],
    ),
    "CMYK": (encode(Image.fromarray(pixels(0)).convert("CMYK"), "TIFF"), pixels(0)),
    "rotated by EXIF": (rotated(), pixels(0)),
    "GIF of two frames": (
        encode(Image.new("RGB", (5, 6), "red"), "GIF", save_all=True, append_images=[Image.new("RGB", (5, 6), "blue")]),
        np.broadcast_to([255, 0, 0], SHAPE),
    ),
    "PNG of two frames": (
        encode(Image.fromarray(pixels(0)), save_all=True, append_images=[Image.fromarray(pixels(1))]),
        pixels(0),
    ),
    "WebP of two frames": (
        encode(
            Image.fromarray(pixels(0)), "WEBP", lossless=True, save_all=True, append_images=[Image.fromarray(pixels(1))]
        ),
        pixels(0),
    ),
    "BMP": (encode(pixels(0), "BMP"), pixels(0)),
}


@pytest.mark.parametrize("kind", CONVERTED)
def test_images_are_converted_as_expected(kind):
    data, expected = CONVERTED[kind]
    np.testing.assert_array_equal(ImageReader(channels=None)(data), expected)


def bomb():
    """A PNG that claims to be 60,000 pixels wide and high, in a few bytes."""
    data = bytearray(encode(GREY))
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def large():
    """A valid PNG of more pixels than are taken, few enough for Pillow to open it without a word."""
    return encode(Image.new("1", (9000, 8000)))


BAD = {
    "empty": (b"", "empty file"),
    "no image": (b"hello", "not an image, or in an unknown format"),
    "truncated": (encode(pixels(0, (64, 64, 3)), "JPEG")[:900], "truncated"),
    "damaged": (encode(pixels(0, (64, 64, 3)))[:200] + bytes(99), ""),
    "float": (encode(Image.fromarray(GREY.astype("float32")), "TIFF"), "pixels of 32 bits"),
    "bomb": (bomb(), "decompression bomb"),
    "large": (large(), "9000x8000 pixels, more than"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 6\n", "not an image"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_images_are_refused_with_file_and_cause(tmp_path, kind):
    data, cause = BAD[kind]
    path = as_zip(tmp_path, data_set() | {"dog/bad.jpg": data})
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # what a user has, rather than the errors of the tests
        with pytest.raises(ValueError, match=rf"1 of 11 that cannot: dog/bad.jpg \(.*{cause}"):
            load(path)


def test_an_image_with_another_images_extension_is_read(tmp_path):
    contents = data_set()
    contents["cat/5.jpg"] = contents["cat/0.png"]
    source = load(as_folder(tmp_path, contents))
    assert len(source.train_inputs) + len(source.test_inputs) == 11


def test_all_bad_images_are_reported_together(tmp_path):
    broken = {f"cat/bad{number:02}.png": b"?" for number in range(14)}
    with pytest.raises(ValueError, match="14 of 24 that cannot") as caught:
        load(as_folder(tmp_path, data_set() | broken))
    named = [name for name in broken if name in str(caught.value)]
    assert named == list(broken)[:10]
    assert str(caught.value).endswith("and 4 more")


def test_bad_images_are_skipped_with_one_warning_each_time(tmp_path):
    path = as_folder(tmp_path, data_set() | {"cat/bad.png": b"", "dog/worse.png": b"?"})
    for _ in range(2):
        with pytest.warns(
            UserWarning, match=r"Images .* are skipped, 2 in all: cat/bad.png \(empty file\), dog/w"
        ) as caught:
            source = zoo.load_source(path, on_bad_image="skip")
        assert len(caught) == 1
        assert len(source.train_inputs) + len(source.test_inputs) == 10
        assert source.as_dict()["skipped"] == 2


def test_skipping_never_empties_a_class(tmp_path):
    contents = {**data_set(classes=("cat", "dog")), "eel/bad.png": b"?"}
    with pytest.raises(ValueError, match="Expected images in every class folder of .* none in eel"):
        load(as_zip(tmp_path, contents), on_bad_image="skip")


def test_skipping_never_leaves_nothing(tmp_path):
    contents = {"cat/a.png": b"?", "dog/b.png": b""}
    with pytest.raises(ValueError, match="Expected images that can be read .* 2 of 2 that cannot: cat/a.png"):
        load(as_zip(tmp_path, contents), on_bad_image="skip")


def test_grey_and_colour_together_are_colour(tmp_path):
    for first, second in (("a", "b"), ("b", "a")):
        contents = {f"{kind}/{first}{n}.png": encode(GREY) for n in range(3) for kind in ("cat", "dog")}
        contents |= {f"{kind}/{second}{n}.png": encode(pixels(n)) for n in range(3) for kind in ("cat", "dog")}
        for cache in (False, tmp_path / first):
            source = zoo.load_source(as_zip(tmp_path, contents), cache=cache)
            found = sorted(map(bytes, [*source.train_inputs, *source.test_inputs]))
            expected = [np.repeat(GREY[..., None], 3, -1)] * 3 + [pixels(n) for n in range(3)]
            assert found == sorted(map(bytes, expected * 2))
    grey = {f"{kind}/{n}.png": encode(GREY) for n in range(4) for kind in ("cat", "dog")}
    assert load(as_zip(tmp_path, grey)).input_shape == (6, 5, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize("stream", [False, True])
def test_names_of_files_need_not_be_utf8(tmp_path, monkeypatch, stream):
    monkeypatch.setenv("KERAS_SKIP_CACHE", str(tmp_path / "cache"))
    folder = as_folder(tmp_path, data_set())
    expected = zoo.load_source(folder, stream=stream).train_inputs[:]
    (folder / "cat" / "0.png").rename(folder / "cat" / os.fsdecode(b"0\xe9.png"))
    source = zoo.load_source(folder, stream=stream)
    np.testing.assert_array_equal(source.train_inputs[:], expected)
    assert zoo.load_source(source.as_dict()).fingerprint == source.fingerprint
