"""Photos that stay encoded: decoded as Pillow does, like an array, small in other processes, and found again."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zoo
from export.images import ImageReader
from tests.zoo.image_sets import as_folder, encode
from tests.zoo.photo_sets import as_class_folders, by_hand, odd_photos, photo
from zoo.data.rows import chunks, first_rows, select_rows
from zoo.data.streaming import source as streaming
from zoo.data.streaming.files import Files
from zoo.data.streaming.photos import Photos

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def pets(tmp_path):
    """A folder of photos in train/ and val/, and the contents of its files."""
    return tmp_path / "pets", as_class_folders(tmp_path / "pets")


@pytest.fixture
def odd(tmp_path):
    """Two classes of the same odd photos."""
    files = odd_photos()
    contents = {
        f"{part}/{kind}/{name}": data for part in ("train", "test") for kind in "ab" for name, data in files.items()
    }
    return as_folder(tmp_path, contents), contents


def stream(path, size=24, **options):
    return zoo.load_source(path, image_size=(size, size), stream=True, **options)


@pytest.mark.parametrize("shorter", [None, 32])
def test_photos_of_all_kinds_are_what_pillow_makes_of_them(odd, shorter):
    path, contents = odd
    source = stream(path, shorter=shorter)
    names = sorted(name for name in contents if name.startswith("train"))
    expected = np.stack([by_hand(contents[name], 24, shorter) for name in names])
    assert isinstance(source.train_inputs, Photos) and source.train_inputs.shape == (16, 24, 24, 3)
    np.testing.assert_array_equal(source.train_inputs[:], expected)
    assert source.train_targets.tolist() == [0] * 8 + [1] * 8 and source.class_names == ("a", "b")
    np.testing.assert_array_equal(source.image(path / names[1]), expected[1])


def test_they_are_indexed_like_an_array(odd):
    path, contents = odd
    photos = stream(path).train_inputs
    whole = np.asarray(photos)
    assert (photos.dtype, photos.ndim, photos.size, len(photos)) == (whole.dtype, 4, whole.size, 16)
    places = np.array([3, 0, 15, 3])
    for index in (5, -1, slice(2, 9, 3), slice(0), places, places.tolist(), whole.sum(axis=(1, 2, 3)) % 2 == 0):
        np.testing.assert_array_equal(photos[index], whole[index])
    for index in ((..., slice(0, 1)), (places, slice(4), 2), (7, 3, 3)):
        np.testing.assert_array_equal(photos[index], whole[index])
    for index in (16, -17, [3, 16]):
        with pytest.raises(IndexError):
            photos[index]
    np.testing.assert_array_equal(np.concatenate(list(chunks(photos))), whole)
    for chosen in (select_rows(photos, places), first_rows(photos, 5), select_rows(first_rows(photos, 5), [4, 1])):
        assert isinstance(chosen, Photos)
    np.testing.assert_array_equal(select_rows(select_rows(photos, places), np.array([2, 1])), whole[[15, 0]])
    assert first_rows(photos, None) is photos and len(first_rows(photos, 99)) == 16


def test_the_cache_of_decoded_images_holds_the_same_pixels_in_the_same_order(tmp_path):
    # "a-b" comes before "a/", and "a" before both.
    names = ("a/1", "a/2/x", "a/10", "a-b/1", "a-b/2", "A/3", "A/4", "a.c/1", "a.c/2")
    contents = {
        f"{part}/{name}.jpg": encode(photo(n), "JPEG") for part in ("train", "val") for n, name in enumerate(names)
    }
    path = as_folder(tmp_path, contents)
    (path / "train" / "a" / ".hidden.jpg").write_bytes(b"")
    (path / "train" / "a" / "notes.txt").write_bytes(b"")
    streamed, cached = (
        zoo.load_source(path, image_size=(24, 24), shorter=30, stream=stream) for stream in (True, False)
    )
    assert not isinstance(cached.train_inputs, Photos) and streamed.class_names == cached.class_names
    for part in ("train", "test"):
        np.testing.assert_array_equal(getattr(streamed, f"{part}_inputs")[:], getattr(cached, f"{part}_inputs")[:])
        np.testing.assert_array_equal(getattr(streamed, f"{part}_targets"), getattr(cached, f"{part}_targets"))
    assert streamed.preprocessing == cached.preprocessing


def test_a_source_is_found_again_by_its_record(pets, monkeypatch):
    path, _ = pets
    source = stream(path, shorter=30).with_validation(0.25)
    assert source.as_dict()["options"] | {"stream": True, "shorter": 30} == source.as_dict()["options"]
    record = json.loads(json.dumps(source.as_dict()))
    decoded = []
    monkeypatch.setattr(streaming.Preprocessing, "fitted", lambda *args, **options: decoded.append(1))
    again = zoo.load_source(record)
    assert not decoded and again.fingerprint == source.fingerprint and again.as_dict() == source.as_dict()
    for part in ("train", "validation", "test"):
        inputs = getattr(again, f"{part}_inputs")
        assert isinstance(inputs, Photos)
        np.testing.assert_array_equal(inputs[:], getattr(source, f"{part}_inputs")[:])
        np.testing.assert_array_equal(getattr(again, f"{part}_targets"), getattr(source, f"{part}_targets"))


def test_the_fingerprint_follows_names_sizes_and_labels(pets, tmp_path):
    path, _ = pets
    before = stream(path).fingerprint
    moved = path.rename(tmp_path / "elsewhere")
    assert stream(moved).fingerprint == before
    (moved / "train" / "cat" / "0.jpg").write_bytes(encode(photo(99, 41, 57), "JPEG"))
    changed = stream(moved).fingerprint
    assert changed != before
    (moved / "train" / "cat" / "0.jpg").rename(moved / "train" / "dog" / "9.jpg")
    assert stream(moved).fingerprint not in (before, changed)


def test_many_images_are_streamed_and_few_are_cached_unless_that_is_asked_for(pets, monkeypatch):
    path, _ = pets
    # 16 images of 24x24 in colour.
    for limit, stream, expected in (
        (16 * 24 * 24 * 3, None, False),
        (16 * 24 * 24 * 3 - 1, None, True),
        (0, False, False),
        (2**40, True, True),
        (2**40, None, False),  # although there is an index now
    ):
        monkeypatch.setattr(streaming, "LIMIT", limit)
        source = zoo.load_source(path, image_size=(24, 24), stream=stream)
        assert isinstance(source.train_inputs, Photos) is expected, limit
    # Without a size, that of the files counts: 40x56.
    monkeypatch.setattr(streaming, "LIMIT", 16 * 40 * 56 * 3 - 1)
    assert isinstance(zoo.load_source(path).train_inputs, Photos)
    monkeypatch.setattr(streaming, "LIMIT", 16 * 40 * 56 * 3)
    assert not isinstance(zoo.load_source(path).train_inputs, Photos)


def test_photos_of_several_sizes_need_image_size(pets):
    path, contents = pets
    same = zoo.load_source(path, stream=True)
    assert same.input_shape == (40, 56, 3)
    np.testing.assert_array_equal(same.train_inputs[1], by_hand(contents["train/cat/1.jpg"]))
    (path / "train" / "dog" / "1.jpg").write_bytes(encode(photo(1, 30, 50), "JPEG"))
    with pytest.raises(ValueError, match=r"40x56, or image_size=.*dog/1.jpg' of 30x50 \(height x width\)"):
        zoo.load_source(path, stream=True)


def test_the_preprocessing_is_fitted_to_a_sample_over_all_training_images(pets, monkeypatch):
    path, contents = pets
    monkeypatch.setattr(streaming, "SAMPLE", 3)
    fitted = stream(path).preprocessing
    names = sorted(name for name in contents if name.startswith("train"))
    pixels = np.stack([by_hand(contents[names[place]], 24) for place in (0, 3, 7)]) / 255
    np.testing.assert_allclose(fitted.mean, pixels.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(fitted.std, pixels.std(axis=(0, 1, 2)), rtol=1e-6)


def test_a_damaged_image_is_named_or_left_out(pets):
    path, contents = pets
    whole = contents["train/cat/2.jpg"]
    (path / "train" / "cat" / "2.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cat/2.jpg' \((?i:.*truncated)"):
        stream(path)
    with pytest.warns(UserWarning, match=r"Images of .* that cannot be read are skipped, 1 in all: .*cat/2.jpg"):
        source = stream(path, on_bad_image="skip")
    assert source.origin["skipped"] == 1 and source.train_targets.tolist() == [0, 0, 0, 1, 1, 1, 1]
    names = sorted(set(contents) - {"train/cat/2.jpg"})[:7]
    np.testing.assert_array_equal(source.train_inputs[:], [by_hand(contents[name], 24) for name in names])
    # One that is damaged later is named when it is needed.
    (path / "val" / "dog" / "0.jpg").write_bytes(b"\xff\xd8nothing")
    with pytest.raises(ValueError, match=r"on_bad_image='skip'.*val/dog/0.jpg"):
        source.test_inputs[:]


def test_boxes_are_cut_out_of_the_upright_originals(odd):
    path, contents = odd
    photos = stream(path).train_inputs
    names = sorted(name for name in contents if name.startswith("train"))
    seen = {}

    def box(place, height, width):
        seen[place] = height, width
        return height // 4, width // 8, height // 2, width // 2

    cut = photos.cropped([1, 4, 7, 2], box, (20, 16))
    for place, index in enumerate((1, 4, 7, 2)):
        whole = by_hand(contents[names[index]])
        height, width = whole.shape[:2]
        assert seen[place] == (height, width)
        edges = width // 8, height // 4, width // 8 + width // 2, height // 4 + height // 2
        expected = np.asarray(Image.fromarray(whole).resize((16, 20), Image.Resampling.BICUBIC, box=edges))
        np.testing.assert_array_equal(cut[place], expected)


def test_a_large_jpeg_is_decoded_at_the_scale_that_a_box_needs(tmp_path):
    big = photo(0, 800, 1200)
    contents = {f"{part}/{kind}/0.jpg": encode(big, "JPEG", quality=95) for part in ("train", "test") for kind in "ab"}
    photos = stream(as_folder(tmp_path, contents)).train_inputs
    cut = photos.cropped([0], lambda place, height, width: (0, 0, height, width), (64, 96))
    whole = Image.fromarray(by_hand(contents["train/a/0.jpg"])).resize((96, 64), Image.Resampling.BICUBIC)
    # libjpeg averages blocks where bicubic weighs, so that the pixels are near, and not the same.
    assert 0 < np.abs(cut[0].astype(int) - np.asarray(whole)).mean() < 2
    # A quarter at the lower right, decoded at half of its size.
    corner = photos.cropped([0], lambda *ignored: (400, 600, 400, 600), (200, 300))
    whole = Image.fromarray(by_hand(contents["train/a/0.jpg"])[400:, 600:]).resize((300, 200), Image.Resampling.BICUBIC)
    assert 0 < np.abs(corner[0].astype(int) - np.asarray(whole)).mean() < 2
    exact = photos.cropped([0], lambda *ignored: (100, 200, 64, 96), (64, 96))
    np.testing.assert_array_equal(exact[0], by_hand(contents["train/a/0.jpg"])[100:164, 200:296])


def test_a_copy_for_another_process_is_small(pets):
    path, contents = pets
    photos = stream(path).train_inputs
    sent = pickle.dumps(photos)
    assert len(sent) < 2000 and isinstance(pickle.loads(sent).files._offset, np.memmap)
    code = (
        "import pickle, sys; photos = pickle.load(sys.stdin.buffer); print(int(photos[3].sum()));"
        "print([name for name in ('keras', 'tensorflow') if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], input=sent, capture_output=True, check=True, cwd=Path(zoo.__file__).parents[1]
    )
    assert run.stdout.split() == [str(by_hand(contents["train/cat/3.jpg"], 24).sum()).encode(), b"[]"]
    in_memory = Photos(Files(str(path), photos.files.arrays()), ImageReader((24, 24)))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(in_memory))[:8], photos[:])


def test_a_photo_that_changes_but_for_its_size_is_looked_at_again(tmp_path):
    path = tmp_path / "pets"
    for grey in (51, 102):
        for kind in ("cat", "dog"):
            for number in range(5):
                (path / kind).mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (24, 24), (grey,) * 3).save(path / kind / f"{number}.bmp")
                os.utime(path / kind / f"{number}.bmp", (grey, grey))
        np.testing.assert_allclose(stream(path).preprocessing.mean, grey / 255, rtol=1e-5)


def test_links_are_followed_once(pets):
    path, _ = pets
    os.symlink(path / "train", path / "train" / "cat" / "loop")
    assert len(stream(path).train_targets) == 8


@pytest.mark.parametrize("name", ["digits", "pets.zip", "grey.npz", "masks", "empty"])
def test_other_data_cannot_be_streamed(tmp_path, name):
    path = tmp_path / name
    if "." in name:
        path.touch()
    elif name != "digits":
        (path / "images").mkdir(parents=True)
        (path / "masks").mkdir()
        if name == "empty":
            (path / "masks").rename(path / "other")
    with pytest.raises(
        ValueError, match="stream=True.*Received: .*" + name if name != "empty" else "without any image"
    ):
        zoo.load_source(name if name == "digits" else path, stream=True)


def test_wrong_options_are_refused(pets):
    with pytest.raises(ValueError, match="Expected stream to be True, False or None. Received: stream='yes'"):
        zoo.load_source(pets[0], stream="yes")
    with pytest.raises(ValueError, match="Expected image_size too. Received: shorter=32"):
        zoo.load_source(pets[0], shorter=32)
    with pytest.raises(ValueError, match="at least 24.*Received: shorter=20"):
        zoo.load_source(pets[0], image_size=(24, 24), shorter=20)
