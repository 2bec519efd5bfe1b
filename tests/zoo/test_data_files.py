"""Folders and archives of images, written here with Pillow, tarfile and zipfile, as data sources."""

import io
import os
import struct
import tarfile
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zoo
from zoo.data import archives, images

SHAPE = (6, 5, 3)
CIFAR10 = Path(os.environ.get("KERAS_SKIP_DATA", Path(__file__).parents[3] / "shared" / "data")) / "cifar10.tar.xz"


def pixels(seed, shape=SHAPE):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype="uint8")


def encoded(image, form="PNG", **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def data_set(*parts, classes=("cat", "dog"), each=5):
    """Names and contents of image files; each image is random with its own seed."""
    names = [f"{part}{name}/{number}.png" for part in parts or ("",) for name in classes for number in range(each)]
    return {name: encoded(pixels(seed)) for seed, name in enumerate(names)}


def as_folder(path, contents):
    for name, data in contents.items():
        file = path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return path / "images"


def as_tar(path, contents, suffix=".tar"):
    target = path / f"images{suffix}"
    with tarfile.open(target, "w:" + suffix[5:]) as archive:
        for name, data in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return target


def as_zip(path, contents):
    target = path / "images.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return target


FORMS = {
    "folder": as_folder,
    "tar": as_tar,
    "tar.gz": lambda path, contents: as_tar(path, contents, ".tar.gz"),
    "tar.xz": lambda path, contents: as_tar(path, contents, ".tar.xz"),
    "zip": as_zip,
}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_SKIP_CACHE", str(tmp_path / "cache"))


def load(path, **options):
    return zoo.load_source(path, cache=False, **options)


def tree(source):
    """Everything that training sees, to be compared."""
    return [
        np.asarray(getattr(source, f"{part}_{kind}")).tolist() for part in source.parts for kind in ("images", "labels")
    ]


@pytest.mark.parametrize("form", FORMS)
def test_train_and_test_folders_come_from_every_container(tmp_path, form):
    contents = data_set("train/", "test/")
    source = zoo.load_source(FORMS[form](tmp_path, contents))
    assert source.class_names == ("cat", "dog")
    assert source.parts == ("train", "test")
    np.testing.assert_array_equal(source.train_images, [pixels(seed) for seed in range(10)])
    np.testing.assert_array_equal(source.test_images, [pixels(seed) for seed in range(10, 20)])
    np.testing.assert_array_equal(source.train_labels, [0] * 5 + [1] * 5)


def test_a_folder_and_archives_of_it_in_any_order_are_the_same_data(tmp_path):
    contents = data_set(each=10)
    shuffled = dict(sorted(contents.items(), key=lambda item: hash(item[1])))
    sources = [load(form(tmp_path, shuffled)) for form in FORMS.values()]
    assert len({source.fingerprint for source in sources}) == 1
    assert all(tree(source) == tree(sources[0]) for source in sources)


@pytest.mark.parametrize("top", ["data/", "a/b/"])
def test_folders_around_the_data_make_no_difference(tmp_path, top):
    contents = {top + name: data for name, data in data_set("train/", "test/").items()}
    source = load(as_zip(tmp_path, contents))
    assert source.class_names == ("cat", "dog")
    assert len(source.test_images) == 10


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_validation_stands_beside_test_or_in_its_place(tmp_path, name):
    beside = load(as_zip(tmp_path, data_set("train/", "test/", f"{name}/")))
    assert beside.parts == ("train", "validation", "test")
    np.testing.assert_array_equal(beside.validation_images, [pixels(seed) for seed in range(20, 30)])
    assert load(as_tar(tmp_path, data_set("train/", f"{name}/"))).parts == ("train", "test")


def test_without_a_split_a_part_of_each_class_is_for_testing(tmp_path):
    path = as_folder(tmp_path, data_set(each=10, classes=("a", "b", "c")))
    source = load(path)
    assert np.bincount(source.test_labels).tolist() == [2, 2, 2]
    assert np.bincount(source.train_labels).tolist() == [8, 8, 8]
    both = np.concatenate([source.train_images, source.test_images])
    assert sorted(map(bytes, both)) == sorted(bytes(pixels(seed)) for seed in range(30))
    assert tree(load(path)) == tree(source)
    assert tree(load(path, split_seed=1)) != tree(source)
    assert np.bincount(load(path, test_fraction=0.5).test_labels).tolist() == [5, 5, 5]


def test_classes_named_by_numbers_are_in_their_order(tmp_path):
    names = [str(number) for number in range(11)]
    assert load(as_folder(tmp_path, data_set(classes=names, each=2))).class_names == tuple(names)


def test_links_to_folders_are_followed_and_loops_end(tmp_path):
    path = as_folder(tmp_path, data_set())
    (tmp_path / "elsewhere").mkdir()
    (path / "dog").rename(tmp_path / "elsewhere" / "dog")
    (path / "dog").symlink_to(tmp_path / "elsewhere" / "dog")
    (path / "cat" / "again").symlink_to(path)
    assert np.bincount(load(path).train_labels).tolist() == [4, 4]


def test_hidden_files_and_files_that_are_no_images_are_left_out(tmp_path):
    extra = dict.fromkeys((".DS_Store", "cat/.DS_Store", "cat/._0.png", "dog/Thumbs.db", "README.txt"), b"?")
    extra |= {"__MACOSX/cat/._0.png": b"?", ".git/objects/a.png": b"?"}
    for form in FORMS.values():
        assert load(form(tmp_path, data_set() | extra)).class_names == ("cat", "dog")


def test_images_of_different_sizes_need_image_size(tmp_path):
    odd = data_set() | {"dog/9.png": encoded(pixels(9, (7, 9, 3)))}
    path = as_folder(tmp_path, odd)
    with pytest.raises(ValueError, match=r"'cat/0.png' of 6x5 and 'dog/9.png' of 7x9") as caught:
        load(path)
    assert "image_size=(height, width)" in str(caught.value)
    source = load(path, image_size=(12, 8))
    assert source.input_shape == (12, 8, 3)
    expected = Image.fromarray(pixels(9, (7, 9, 3))).resize((8, 12), Image.Resampling.BICUBIC)
    everything = [*source.train_images, *source.test_images]
    assert any(np.array_equal(image, expected) for image in everything)


@pytest.mark.parametrize("size", [(8,), (0, 8), (8.0, 8), "ab", (8, 8, 3), 32])
def test_wrong_image_size_is_refused(size):
    with pytest.raises(ValueError, match="Expected image_size to be .* Received: image_size="):
        zoo.load_source("digits", image_size=size)


def test_image_size_holds_for_every_source():
    source = zoo.load_source("digits", image_size=(16, 12))
    assert source.input_shape == (16, 12, 1)
    assert source.validation_images is None


RED = Image.new("RGB", (5, 6), "red")
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
    return encoded(Image.fromarray(np.rot90(pixels(0))), exif=exif)


CONVERTED = {
    "grey": (encoded(GREY), GREY[..., None]),
    "one bit": (encoded(Image.fromarray(GREY > 99)), np.uint8(GREY > 99)[..., None] * 255),
    "16 bits": (encoded(GREY.astype("uint16") * 257), GREY[..., None]),
    "16 bits, tiff": (encoded(GREY.astype("uint16") * 257, "TIFF"), GREY[..., None]),
    "opaque": (encoded(with_alpha(pixels(0), 255)), pixels(0)),
    "transparent": (encoded(with_alpha(pixels(0), 0)), np.full(SHAPE, 255)),
    "grey and transparent": (
        encoded(Image.merge("LA", [Image.fromarray(GREY), Image.new("L", (5, 6))])),
        np.full((6, 5, 1), 255),
    ),
    "palette": (encoded(palette()), np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90], [100, 110, 120]])[GREY // 64]),
    "palette with a transparent colour": (
        encoded(palette(), transparency=0),
        np.array([[255, 255, 255], [40, 50, 60], [70, 80, 90], [100, 110, 120]])[GREY // 64],
    ),
    "CMYK": (encoded(Image.fromarray(pixels(0)).convert("CMYK"), "TIFF"), pixels(0)),
    "rotated by EXIF": (rotated(), pixels(0)),
    "GIF of two frames": (
        encoded(
            Image.new("RGB", (5, 6), "red"), "GIF", save_all=True, append_images=[Image.new("RGB", (5, 6), "blue")]
        ),
        np.broadcast_to([255, 0, 0], SHAPE),
    ),
    "PNG of two frames": (
        encoded(Image.fromarray(pixels(0)), save_all=True, append_images=[Image.fromarray(pixels(1))]),
        pixels(0),
    ),
    "WebP of two frames": (
        encoded(
            Image.fromarray(pixels(0)), "WEBP", lossless=True, save_all=True, append_images=[Image.fromarray(pixels(1))]
        ),
        pixels(0),
    ),
    "BMP": (encoded(pixels(0), "BMP"), pixels(0)),
}


@pytest.mark.parametrize("kind", CONVERTED)
def test_images_are_converted_as_expected(kind):
    data, expected = CONVERTED[kind]
    np.testing.assert_array_equal(images.decode(data), expected)


def bomb():
    """A PNG that claims to be 60,000 pixels wide and high, in a few bytes."""
    data = bytearray(encoded(GREY))
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def large():
    """A valid PNG of more pixels than are taken, few enough for Pillow to open it without a word."""
    return encoded(Image.new("1", (9000, 8000)))


BAD = {
    "empty": (b"", "empty file"),
    "no image": (b"hello", "no image, or of a format that is not known"),
    "truncated": (encoded(pixels(0, (64, 64, 3)), "JPEG")[:900], "truncated"),
    "damaged": (encoded(pixels(0, (64, 64, 3)))[:200] + bytes(99), ""),
    "float": (encoded(Image.fromarray(GREY.astype("float32")), "TIFF"), "pixels of 32 bits"),
    "bomb": (bomb(), "decompression bomb"),
    "large": (large(), "9000x8000 pixels, more than"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 6\n", "no image"),
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
    assert len(source.train_images) + len(source.test_images) == 11


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
        with pytest.warns(UserWarning, match=r"2 images .* are left out: cat/bad.png \(empty file\), dog/w") as caught:
            source = zoo.load_source(path, on_bad_image="skip")
        assert len(caught) == 1
        assert len(source.train_images) + len(source.test_images) == 10
        assert source.as_dict()["skipped"] == 2


def test_skipping_never_empties_a_class(tmp_path):
    contents = {**data_set(classes=("cat", "dog")), "eel/bad.png": b"?"}
    with pytest.raises(ValueError, match="Expected images in every class folder of .* none in eel"):
        load(as_zip(tmp_path, contents), on_bad_image="skip")


def test_grey_and_colour_together_are_colour(tmp_path):
    for first, second in (("a", "b"), ("b", "a")):
        contents = {f"{kind}/{first}{n}.png": encoded(GREY) for n in range(3) for kind in ("cat", "dog")}
        contents |= {f"{kind}/{second}{n}.png": encoded(pixels(n)) for n in range(3) for kind in ("cat", "dog")}
        for cache in (False, tmp_path / first):
            source = zoo.load_source(as_zip(tmp_path, contents), cache=cache)
            found = sorted(map(bytes, [*source.train_images, *source.test_images]))
            expected = [np.repeat(GREY[..., None], 3, -1)] * 3 + [pixels(n) for n in range(3)]
            assert found == sorted(map(bytes, expected * 2))
    grey = {f"{kind}/{n}.png": encoded(GREY) for n in range(4) for kind in ("cat", "dog")}
    assert load(as_zip(tmp_path, grey)).input_shape == (6, 5, 1)


LAYOUTS = {
    "Expected images in class folders.*without any image": {"README.txt": b""},
    "Expected every image of .* in a class folder.*10 outside of them, such as '0.png'": {
        f"{n}.png": encoded(pixels(n)) for n in range(10)
    },
    "Expected train/, test/ and validation/ alone in .* Received: extra beside train": data_set("train/", "extra/"),
    "Expected the same classes in train and test of .*train without eel; test without dog": {
        **data_set("train/", classes=("cat", "dog")),
        **data_set("test/", classes=("cat", "eel")),
    },
    "Expected a folder train in .*Received: test alone": data_set("test/"),
    "Expected at least two examples of each class.*one of 'dog'": {
        **data_set(classes=("cat",)),
        "dog/0.png": encoded(pixels(0)),
    },
}


@pytest.mark.parametrize("message", LAYOUTS)
def test_wrong_layouts_are_refused(tmp_path, message):
    with pytest.raises(ValueError, match=message):
        load(as_folder(tmp_path, LAYOUTS[message]))


@pytest.mark.parametrize("empty", ["eel", "train/eel", "test"])
def test_an_empty_class_or_part_is_refused(tmp_path, empty):
    path = as_folder(tmp_path, data_set() if empty == "eel" else data_set("train/"))
    (path / empty).mkdir()
    with pytest.raises(ValueError, match=f"Expected images in every class folder of .* Received: none in {empty}"):
        load(path)


@pytest.mark.parametrize("name", ["../cat/0.png", "/cat/0.png", "cat/../../0.png", "C:\\cat\\0.png"])
@pytest.mark.parametrize("form", ["tar", "zip"])
def test_paths_that_lead_out_of_an_archive_are_refused(tmp_path, form, name):
    path = FORMS[form](tmp_path, data_set() | {name: encoded(pixels(0))})
    with pytest.raises(ValueError, match="Expected paths inside of .* which leads out of it"):
        load(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    path = as_tar(tmp_path, data_set())
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("dog/9.png")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(ValueError, match="Expected files and folders in .*'dog/9.png', a link or a device"):
        load(path)


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_a_file_that_would_fill_the_memory_is_not_read(tmp_path, form, monkeypatch):
    monkeypatch.setattr(archives, "LARGEST", 100_000)
    path = FORMS[form](tmp_path, data_set() | {"dog/bomb.png": bytes(1_000_000)})
    with pytest.raises(ValueError, match=r"dog/bomb.png \(1,000,000 bytes, too large for an image\)"):
        load(path)


@pytest.mark.parametrize("form", ["tar", "tar.gz", "tar.xz", "zip"])
@pytest.mark.parametrize("share", [0, 0.3, 0.8])
def test_a_truncated_archive_is_refused(tmp_path, form, share):
    path = FORMS[form](tmp_path, data_set(each=40))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match="Expected an archive that can be read to its end"):
        load(path)


def test_an_archive_that_is_none_is_refused(tmp_path):
    for name in ("images.tar", "images.zip"):
        (tmp_path / name).write_bytes(b"hello" * 1000)
        with pytest.raises(ValueError, match="Expected an archive that can be read to its end"):
            load(tmp_path / name)


@pytest.mark.skipif(not CIFAR10.exists(), reason="no cifar10.tar.xz in KERAS_SKIP_DATA or ../shared/data")
def test_the_first_images_of_a_real_archive(tmp_path):
    """Its first members, dealt out to two classes: to read as far as the second takes longer than a test may."""
    first = {}
    with tarfile.open(CIFAR10, "r|xz") as archive:
        for member in archive:
            if member.isfile():
                kind = ("airplane", "plane")[len(first) % 2]
                first[member.name.replace("train/airplane", kind)] = archive.extractfile(member).read()
            if len(first) == 300:
                break
    source = load(as_tar(tmp_path, first))
    assert source.input_shape == (32, 32, 3)
    assert source.class_names == ("airplane", "plane")
    assert (len(source.train_images), len(source.test_images)) == (240, 60)
    name = sorted(first)[0]
    expected = np.asarray(Image.open(io.BytesIO(first[name])))
    assert any(np.array_equal(image, expected) for image in [*source.train_images, *source.test_images])
