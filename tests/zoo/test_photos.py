"""Photos from a folder to an artifact: what a run measures is what its artifact says of the files themselves."""

import io
import json

import keras
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

import export
import zoo
from export.images import ImageReader
from tests.processes import keras_skip

SIZE = (12, 16)


def photo(name, number):
    """A JPEG of a part of a photo, stored on its side, with the rotation in its EXIF."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6  # the top of the picture is at the right
    part = load_sample_image(f"{name}.jpg")[10 * number : 200 + 10 * number, 20 * number : 400]
    Image.fromarray(np.rot90(part)).save(file, "JPEG", exif=exif)
    return file.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run on photos, cropped, and its artifact."""
    folder = tmp_path_factory.mktemp("photos")
    for part, numbers in (("train", range(6)), ("test", range(6, 9))):
        for name in ("china", "flower"):
            (folder / "data" / part / name).mkdir(parents=True)
            for number in numbers:
                (folder / "data" / part / name / f"{number}.jpg").write_bytes(photo(name, number))
    options = "--data", "data", "--image-size", "12x16", "--epochs", 2, "--batch-size", 4, "--out", "run"
    options += "--set", "arguments.depth=3"
    keras_skip("train", "plain_mlp_digits", *options, cwd=folder, KERAS_SKIP_CACHE=str(folder / "cache"))
    keras_skip("export", "run", "--format", "onnx", cwd=folder, KERAS_SKIP_CACHE=str(folder / "cache"))
    return folder


def test_run_and_artifact_record_the_reader(folder):
    run = json.loads((folder / "run" / "run.json").read_text())
    artifact = json.loads((folder / "run" / "export" / "artifact.json").read_text())
    assert run["source"]["image"] == artifact["image"] == ImageReader(SIZE).to_dict()
    assert run["source"]["options"]["resize"] == "crop"


def test_the_artifact_says_of_files_what_the_run_measures(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("KERAS_SKIP_CACHE", str(folder / "cache"))
    source, model = zoo.load_source(zoo.open_run("run").source), zoo.load("run")
    expected = np.asarray(keras.ops.softmax(model(source.preprocessing(source.test_inputs))))
    files = sorted((folder / "data" / "test").rglob("*.jpg"))
    named = export.load("run/export").classify(files, top=2)
    probabilities = np.array([[dict(pairs)[name] for name in source.class_names] for pairs in named])
    # The test images of a source are in the order of its files.
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    right = [pairs[0][0] == file.parent.name for pairs, file in zip(named, files, strict=True)]
    assert zoo.evaluate("run")["accuracy"] == pytest.approx(np.mean(right))


def test_a_run_from_before_the_record_stretches(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    record = json.loads((folder / "run" / "run.json").read_text())["source"]
    del record["image"], record["options"]["resize"]
    record.pop("fingerprint")
    source = zoo.load_source(record, cache=False)
    whole = Image.open(io.BytesIO(photo("china", 6))).transpose(Image.Transpose.ROTATE_270)
    stretched = np.asarray(whole.resize(SIZE[::-1], Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(source.test_inputs[0], stretched)
    from zoo.data.recorded import recorded_reader

    assert recorded_reader(record, source.input_shape) == ImageReader(SIZE, resize="stretch")
    assert recorded_reader({**record, "dtype": "float32"}, source.input_shape) is None
    digits = {"preprocessing": {"scale": 1 / 16}}
    assert recorded_reader(digits, (8, 8, 1)) is None


@pytest.fixture
def odd_sizes(tmp_path, monkeypatch):
    """Photos of several sizes in two folders, of the same classes."""
    monkeypatch.setenv("KERAS_SKIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for data in ("mine", "newer"):
        for name in ("china", "flower"):
            (tmp_path / data / name).mkdir(parents=True)
            for number in range(5):
                (tmp_path / data / name / f"{number}.jpg").write_bytes(photo(name, number))
    return tmp_path


def test_photos_of_several_sizes_are_read_in_the_size_of_the_weights(odd_sizes):
    done = keras_skip("train", "resnet20", "--data", "mine", "--weights", "cifar10", "--epochs", 1, cwd=odd_sizes)
    assert "Images of several sizes, read as 32x32 (height x width)" in done.stderr
    run = zoo.open_run("runs/resnet20")
    assert run.source["image"] == ImageReader((32, 32)).to_dict()
    assert "test accuracy" in keras_skip("evaluate", "runs/resnet20", "--data", "newer", cwd=odd_sizes).stdout
    assert zoo.load_source("newer", like=run.source).input_shape == (32, 32, 3)
    with pytest.raises(ValueError, match="Did you mean runs/resnet20"):
        zoo.open_run("runs/resnet20_finetune")
    with pytest.raises(FileNotFoundError, match="a run; `keras-skip export runs/resnet20`"):
        export.load("runs/resnet20")


def test_photos_of_several_sizes_are_read_in_the_size_of_a_model_of_ones_own(odd_sizes, no_report):
    sides = keras.Sequential([keras.Input((10, 14, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    assert zoo.train(None, "mine", model=sides, epochs=1).source["image"]["size"] == [10, 14]
    any_size = keras.Sequential([keras.Input((None, None, 3)), keras.layers.GlobalAveragePooling2D()])
    for asked in ({"recipe": None, "model": any_size}, {"recipe": "resnet20"}):
        with pytest.raises(ValueError, match="Expected images of one size"):
            zoo.train(**asked, data="mine", out="refused")
    assert not (odd_sizes / "refused").exists()
