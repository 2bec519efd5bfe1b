"""Images with masks as a source for segmentation, on files that Pillow writes."""

import warnings
import zipfile

import numpy as np
import pytest
from PIL import Image

import zoo
from export.images import BadImage
from zoo.data.masks import read_mask

from .image_sets import encode, pixels


def mask(seed, values=(0, 1, 2), shape=(6, 5)):
    return np.random.default_rng(100 + seed).choice(values, shape).astype("uint8")


def png(values):
    return encode(Image.fromarray(values))


def palette(values, form="PNG"):
    image = Image.frombytes("P", values.shape[::-1], values.tobytes())
    image.putpalette([channel for value in range(256) for channel in (255 - value, value, value // 2)])
    return encode(image, form, optimize=False)


def pairs(count=10, image=lambda seed: encode(pixels(seed)), mask_file=lambda seed: png(mask(seed))):
    """Names and contents of images and masks, each random with its own seed."""
    files = {f"images/{seed}.png": image(seed) for seed in range(count)}
    return files | {f"masks/{seed}.png": mask_file(seed) for seed in range(count)}


def write(path, files):
    for name, data in files.items():
        file = path / "cells" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return path / "cells"


def load(path, files, cache=False, **options):
    return zoo.load_source(write(path, files), cache=cache, **options)


def seeds(source, part):
    """The seed of each image of a part."""
    known = {pixels(seed).tobytes(): seed for seed in range(30)}
    return [known[bytes(image)] for image in np.asarray(getattr(source, f"{part}_inputs"))]


@pytest.mark.parametrize("cached", [False, True])
def test_each_image_has_its_mask(tmp_path, cached):
    where = tmp_path / "cache" if cached else False
    source = load(tmp_path, pairs(), where)
    assert (source.task, source.class_names) == ("segmentation", ("0", "1", "2"))
    assert (len(source.train_inputs), len(source.test_inputs)) == (8, 2)
    assert source.image is not None and source.image.size == (6, 5)
    for part in source.parts:
        expected = [mask(seed) for seed in seeds(source, part)]
        np.testing.assert_array_equal(getattr(source, f"{part}_targets"), expected)
    scaled = np.asarray(source.train_inputs, "float64") / 255
    np.testing.assert_allclose(source.preprocessing.mean, scaled.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(source.preprocessing.std, scaled.std(axis=(0, 1, 2)), rtol=1e-6)
    assert zoo.load_source(source.as_dict(), cache=where).fingerprint == source.fingerprint
    if cached:
        assert [path.name for path in (tmp_path / "cache" / "sources").iterdir()][0].startswith("cells-")
        (tmp_path / "cells" / "masks" / "0.png").write_bytes(png(mask(50)))
        assert zoo.load_source(tmp_path / "cells", cache=where).fingerprint != source.fingerprint


@pytest.mark.parametrize("order", ["{part}/{kind}/", "{kind}/{part}/", "all/{part}/{kind}/"])
def test_folders_say_the_parts(tmp_path, order):
    parts = {"train": range(4), "val": range(4, 6), "test": range(6, 9)}
    files = {}
    for part, members in parts.items():
        for seed in members:
            files[order.format(part=part, kind="images") + f"{seed}.png"] = encode(pixels(seed))
            files[order.format(part=part, kind="masks") + f"{seed}.png"] = png(mask(seed))
    source = load(tmp_path, files)
    assert {part: seeds(source, part) for part in source.parts} == {
        "train": [*range(4)],
        "validation": [4, 5],
        "test": [6, 7, 8],
    }
    without_test = {name: data for name, data in files.items() if "test" not in name}
    again = load(tmp_path / "again", without_test)
    assert (again.parts, seeds(again, "test")) == (("train", "test"), [4, 5])


MASKS = {
    "grey": png,
    "palette": palette,
    "GIF": lambda values: palette(values, "GIF"),
    "TIFF": lambda values: encode(Image.fromarray(values), "TIFF"),
    "16 bits": lambda values: encode(Image.fromarray(values.astype("uint16"))),
    "RGB of equal channels": lambda values: png(np.repeat(values[..., None], 3, axis=-1)),
}


@pytest.mark.parametrize("form", MASKS)
def test_forms_of_masks(tmp_path, form):
    values = [0, 1, 2, 255]
    source = load(tmp_path, pairs(mask_file=lambda seed: MASKS[form](mask(seed, values))))
    assert source.class_names == ("0", "1", "2")
    expected = [mask(seed, values) for seed in seeds(source, "train")]
    np.testing.assert_array_equal(source.train_targets, expected)
    assert (source.train_targets == 255).any()


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("bits", ["L", "1"])
def test_masks_of_0_and_255_have_two_classes(tmp_path, bits, cached):
    def file(seed):
        return encode(Image.fromarray(mask(seed, [0, 255])).convert(bits))

    files = pairs(mask_file=file) | {"classes.txt": b"\xef\xbb\xbfsky\r\ncloud\r\n\r\n"}
    source = load(tmp_path, files, tmp_path / "cache" if cached else False)
    assert source.class_names == ("sky", "cloud")
    expected = [mask(seed, [0, 255]) // 255 for seed in seeds(source, "train")]
    np.testing.assert_array_equal(source.train_targets, expected)


def test_255_does_not_count_where_three_classes_are_named(tmp_path):
    files = pairs(mask_file=lambda seed: png(mask(seed, [0, 255]))) | {"classes.txt": b"sky\ncloud\nbird\n"}
    with pytest.raises(ValueError, match="Expected train_targets of two classes or more. .* with only sky"):
        load(tmp_path, files)


def test_names_of_classes_may_be_of_more_than_there_are(tmp_path):
    source = load(tmp_path, pairs() | {"classes.txt": b"sky\ncloud\nbird\nplane\n"})
    assert source.class_names == ("sky", "cloud", "bird", "plane")


def test_images_and_masks_are_resized_alike_and_masks_keep_their_values(tmp_path):
    files = pairs(
        image=lambda seed: encode(pixels(seed, (6 + seed, 8, 3))),
        mask_file=lambda seed: png(mask(seed, [0, 1, 200], (6 + seed, 8))),
    )
    files |= {"classes.txt": "\n".join(map(str, range(201))).encode()}
    with pytest.raises(
        ValueError, match=r"images of one size in .*, or image_size=\(height, width\).* 'images/0.png' of 6x8"
    ):
        load(tmp_path, files)
    source = load(tmp_path, files, image_size=(12, 16))
    assert source.train_inputs.shape == (8, 12, 16, 3) and source.train_targets.shape == (8, 12, 16)
    assert set(np.unique(source.train_targets)) == {0, 1, 200}
    # The one of 6x8 is twice as large: each pixel is four of them.
    sums = [values.sum() for values in (*source.train_targets.astype(int), *source.test_targets.astype(int))]
    assert mask(0, [0, 1, 200], (6, 8)).astype(int).sum() * 4 in sums


def test_masks_that_are_arrays_are_resized_alike():
    source, larger = (
        zoo.load_source("digits_masks"),
        zoo.load_source("digits_masks", image_size=(64, 96), resize="stretch"),
    )
    np.testing.assert_array_equal(
        larger.test_targets, source.test_targets.repeat(2, axis=1).repeat(3, axis=2)[:, :, :96]
    )


def test_only_images_are_resized():
    with pytest.raises(
        ValueError, match=r"Expected image_size only for images. Received: image_size=\(8, 8\) for 'wine'"
    ):
        zoo.load_source("wine", image_size=(8, 8))


def rotated(seed):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    return encode(pixels(seed), exif=exif)


BAD = {
    "images/3.png (no mask of this name)": {"masks/3.png": None},
    "masks/3.png (no image of this name)": {"images/3.png": None},
    "images/3.png (6x5, but its mask is 5x6 (height x width))": {"masks/3.png": png(mask(3).T.copy())},
    "images/3.png (5x6, but its mask is 6x5 (height x width))": {"images/3.png": rotated(3)},
    "images/3.png (empty file)": {"images/3.png": b""},
    "images/3.png (its mask: no image, or of a format that is not known)": {"masks/3.png": b"rubbish"},
    "images/3.png (its mask: the value 7, but classes.txt names 3 classes, from 0)": {
        "masks/3.png": png(mask(3, [0, 7]))
    },
    "images/3.png (its mask: in colour (mode RGB); write the index of a class as the grey value": {
        "masks/3.png": encode(pixels(3))
    },
    "images/3.png (its mask: in colour (mode RGBA)": {"masks/3.png": encode(pixels(3, (6, 5, 4)))},
    "images/3.png (its mask: JPEG, which may change the values": {
        "masks/3.png": encode(Image.fromarray(mask(3)), "JPEG")
    },
    "images/3.png (its mask: values from 0 to 700, beyond 0 to 255": {
        "masks/3.png": encode(Image.fromarray((mask(3, [0, 70]) * np.uint16(10)).astype("uint16")))
    },
}


@pytest.mark.parametrize("message", BAD)
def test_a_bad_pair_is_named_or_skipped(tmp_path, message):
    files = pairs() | {"classes.txt": b"a\nb\nc\n"} | BAD[message]
    folder = write(tmp_path, {name: data for name, data in files.items() if data is not None})
    with pytest.raises(ValueError) as caught:
        zoo.load_source(folder, cache=False)
    assert f"Received: 1 of 10 that cannot: {message}" in str(caught.value)
    with pytest.warns(UserWarning, match="Images of .*cells' that cannot be read are skipped, 1 in all"):
        source = zoo.load_source(folder, cache=False, on_bad_image="skip")
    assert sorted(seeds(source, "train") + seeds(source, "test")) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert source.as_dict()["skipped"] == 1
    for part in source.parts:
        np.testing.assert_array_equal(getattr(source, f"{part}_targets"), [mask(seed) for seed in seeds(source, part)])


WRONG = {
    r"Expected masks with the values 0, 1, 2, .* or classes.txt .* the values 0, 1, 4, such as 4 in masks/0.png": pairs(
        mask_file=lambda seed: png(mask(seed, [0, 1, 4]))
    ),
    "Expected files of different names in the folders images .* Received: images/1.bmp and images/1.png": pairs()
    | {"images/1.bmp": encode(pixels(1), "BMP")},
    r"Expected at most 255 names in .*classes.txt', each in a line .* \['a', 'a'\]": pairs()
    | {"classes.txt": b"a\na\n"},
    r"each in a line .* \['a', '', 'b'\]": pairs() | {"classes.txt": b"a\n\nb\n"},
    "Expected images in the folders images and masks of .* Received: none": {"images/a.txt": b"", "masks/b.txt": b""},
    "Expected a part train in .* Received: only test": {f"test/{name}": data for name, data in pairs().items()},
    "Expected a part for each example of .* Received: none for 10": pairs()
    | {"train/images/x.png": encode(pixels(20)), "train/masks/x.png": png(mask(20))},
}


def test_no_mask_is_read_by_another_program():
    """Pillow has Ghostscript run the program in an EPS."""
    with pytest.raises(BadImage, match="no image, or of a format that is not known"):
        read_mask(encode(Image.fromarray(mask(0)), "EPS"))


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_folder_is_refused(tmp_path, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, WRONG[message])


def test_masks_in_an_archive_are_not_taken_for_a_class(tmp_path):
    with zipfile.ZipFile(tmp_path / "cells.zip", "w") as archive:
        for name, data in pairs().items():
            archive.writestr(name, data)
    with pytest.raises(ValueError, match="Expected images and masks in a folder. Received: the archive .*cells.zip"):
        zoo.load_source(tmp_path / "cells.zip", cache=False)


def test_classes_may_be_called_masks(tmp_path):
    files = {f"{name}/{seed}.png": encode(pixels(seed)) for name in ("masks", "no_masks") for seed in range(5)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(tmp_path, files).class_names == ("masks", "no_masks")


def valued(*values):
    return pairs(mask_file=lambda seed: png(mask(seed, values)))


@pytest.mark.parametrize("cached", [False, True])
def test_other_masks_are_read_by_the_classes_of_a_record(tmp_path, cached):
    where = tmp_path / "cache" if cached else False

    def found(files, like):
        source = load(tmp_path / "other", files, where, like=like)
        return source.class_names, np.unique(source.test_targets).tolist()

    ignored = load(tmp_path / "ignored", valued(0, 1, 255), where).as_dict()
    second = load(tmp_path / "second", valued(0, 255) | {"classes.txt": b"sky\ncloud"}, where).as_dict()
    for like in (ignored, second):
        assert zoo.load_source(like, cache=where).as_dict() == like
    assert found(valued(0, 255), ignored) == (("0", "1"), [0, 255])
    assert found(valued(0, 255), second) == (("sky", "cloud"), [0, 1])
    assert found(valued(255), second) == (("sky", "cloud"), [1])
    earlier = {name: value for name, value in ignored.items() if name != "second_is_255"}
    assert found(valued(0, 255), earlier) == (("0", "1"), [0, 1])
    with pytest.raises(ValueError, match="its mask: the value 2, but the record names 2 classes, from 0"):
        found(valued(0, 1, 2), ignored)
    assert found(valued(0, 1) | {"classes.txt": b"cloud\nsky"}, second)[0] == ("cloud", "sky")
