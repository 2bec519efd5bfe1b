"""Artifacts that record how images are read: they classify photos of any size, as Keras does with Pillow's pixels."""

import json
import subprocess
import sys

import numpy as np
import pytest
from keras import ops
from PIL import Image
from sklearn.datasets import load_sample_image

import export
from tests.export.models import RAW, conv_net
from tests.export.photos import LABELS, keras_says, make, photo, seen, upright
from tests.export.server import ROOT, images
from tests.export.small_artifact import edit


@pytest.fixture(scope="module", name="photo")
def photo_():
    return photo()


@pytest.fixture(scope="module")
def reading(tmp_path_factory):
    return make(tmp_path_factory.mktemp("reading") / "artifact", image=export.ImageReader((8, 8)))


def test_photos_are_classified_as_keras_does(reading, photo, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(photo)
    predictor, flipped = export.load(reading), np.ascontiguousarray(load_sample_image("flower.jpg"))
    expected = keras_says([seen(photo)])[0]
    best = (LABELS[expected.argmax()], pytest.approx(expected.max(), abs=1e-6))
    kinds = (photo, tmp_path / "photo.jpg", str(tmp_path / "photo.jpg"), Image.open(tmp_path / "photo.jpg"))
    for image in kinds:
        assert predictor.classify(image) == [best]
    mixed = predictor.classify([photo, flipped, tmp_path / "photo.jpg"], batch_size=2)
    assert [mixed[0], mixed[2]] == [best, best]
    assert mixed[1] == predictor.classify(flipped)[0] == predictor.classify(flipped[None])[0]
    np.testing.assert_array_equal(predictor.read_images([photo, photo]), [seen(photo)] * 2)


def test_the_most_probable_classes_are_named_in_order(reading, photo):
    expected = keras_says([seen(photo)])[0]
    order = np.argsort(-expected)[:3]
    (named,) = export.load(reading).classify(photo, top=3)
    assert [label for label, _ in named] == [LABELS[i] for i in order]
    assert [p for _, p in named] == pytest.approx(expected[order].tolist(), abs=1e-6)
    assert len(export.load(reading).classify(images(2), top=9)[0]) == 4
    with pytest.raises(ValueError, match="Expected top to be at least 1. Received: top=0"):
        export.load(reading).classify(photo, top=0)


def test_arrays_of_the_shape_of_the_input_are_taken_as_they_are(tmp_path):
    path = make(tmp_path / "a", image=export.ImageReader((8, 8), shorter=12))
    expected = keras_says(images(3))
    named = export.load(path).classify(images(3))
    assert [p for _, p in named] == pytest.approx(expected.max(-1).tolist(), abs=1e-6)
    assert export.load(path).classify(images(3).tolist()) == named
    # A single image is read: it becomes 12x12, of which the middle is cut out.
    larger = np.asarray(Image.fromarray(images(1)[0]).resize((12, 12), Image.Resampling.BICUBIC))[2:10, 2:10]
    ((_, probability),) = export.load(path).classify(images(1)[0])
    assert probability == pytest.approx(keras_says([larger]).max(), abs=1e-6)


def test_channels_may_come_first(tmp_path, photo):
    options = {"layout": "nchw", "preprocessing": export.Preprocessing(**{**RAW.to_dict(), "channel_axis": 1})}
    predictor = export.load(make(tmp_path / "a", image=export.ImageReader((8, 8)), **options))
    assert predictor.read_images(photo).shape == (1, 3, 8, 8)
    ((_, probability),) = predictor.classify(photo)
    assert probability == pytest.approx(keras_says([seen(photo)]).max(), abs=1e-6)


def test_a_network_of_any_size_takes_images_as_they_are(tmp_path, photo):
    path = tmp_path / "a"
    export.export(
        conv_net(size=None), path, preprocessing=RAW, activation="softmax", image=export.ImageReader(), formats=["onnx"]
    )
    predictor = export.load(path)
    whole = np.asarray(upright(photo))
    np.testing.assert_array_equal(predictor.read_images(photo), whole[None])
    ((_, probability),) = predictor.classify(photo)
    assert probability == pytest.approx(np.asarray(ops.softmax(conv_net(None)(RAW.apply(whole[None])))).max(), abs=1e-6)
    with pytest.raises(ValueError, match="Expected images of one size.* Received: 9x9, 427x640"):
        predictor.classify([photo, images(1, size=9)[0]])


def test_bad_images_are_named(reading, photo, tmp_path):
    predictor = export.load(reading)
    (tmp_path / "bad.jpg").write_bytes(photo[:2000])
    with pytest.raises(ValueError, match=r"Expected an image that can be read. Received: '.*bad.jpg' \(.*truncated"):
        predictor.classify([photo, tmp_path / "bad.jpg"])
    with pytest.raises(ValueError, match=r"Received: image 2 of 2 \(not an image, or in an unknown format\)"):
        predictor.classify([photo, b"hello"])
    with pytest.raises(ValueError, match="Received: no image"):
        predictor.classify([])
    with pytest.raises(FileNotFoundError, match="nothing.jpg"):
        predictor.classify("nothing.jpg")


def test_without_a_record_files_are_refused_with_the_way_out(artifact, photo):
    predictor = export.load(artifact)
    for image in ("cat.jpg", photo, ["cat.jpg"]):
        with pytest.raises(ValueError, match=r"Expected an artifact that records .*export.export\(image=...\)"):
            predictor.classify(image)


def test_the_record_is_in_the_manifest_and_old_artifacts_have_none(reading, here):
    record = {"size": [8, 8], "channels": 3, "resize": "crop", "shorter": None, "interpolation": "bicubic"}
    assert json.loads((reading / "artifact.json").read_text())["image"] == record
    edit(here, lambda manifest: manifest.pop("image"))
    assert export.load(here).labels == ["a", "b"]


@pytest.mark.parametrize(
    ("record", "cause"),
    [
        ({"size": [8, 8], "sizes": 3}, r"not a reader of images \(Expected a reader of images with the fields"),
        ({"size": [8, 8], "resize": "squash"}, "Expected resize to be one of crop, stretch"),
        ({"size": [3, 5]}, r"without a single input of uint8 and shape \(any, 3, 5, 3\)"),
        ({"size": [3, 4], "channels": 1}, r"without a single input of uint8 and shape \(any, 3, 4, 1\)"),
        ({}, r"without a single input of uint8 and shape \(any, any, any, 3\)"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(record, cause, here):
    edit(here, lambda manifest: manifest.update(image=record))
    with pytest.raises(export.VerificationError, match=cause):
        export.load(here)


@pytest.mark.parametrize(
    ("reader", "options", "wanted"),
    [
        (export.ImageReader((9, 8)), {}, r"shape \(any, 9, 8, 3\)"),
        (export.ImageReader((8, 8), 1), {}, r"shape \(any, 8, 8, 1\)"),
        (export.ImageReader((8, 8)), {"preprocessing": None}, "a single input of uint8"),
    ],
)
def test_a_reader_that_does_not_fit_the_network_is_refused_before_anything_is_made(reader, options, wanted, tmp_path):
    with pytest.raises(ValueError, match=f"Expected a network with .*{wanted}.* for ImageReader"):
        make(tmp_path / "a", image=reader, **options)
    assert list(tmp_path.iterdir()) == []


def test_photos_are_classified_where_keras_and_tensorflow_are_not_installed(reading, photo, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(photo)
    code = f"""
import sys
for name in ("keras", "tensorflow", "keras_skip", "tf2onnx", "onnx", "zoo"):
    sys.modules[name] = None
sys.path.insert(0, {str(ROOT)!r})
import export
predictor = export.load({str(reading)!r})
assert "PIL" not in sys.modules
print(predictor.classify("photo.jpg")[0][0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == LABELS[keras_says([seen(photo)])[0].argmax()], done.stderr
