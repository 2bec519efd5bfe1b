"""Runs on photos that stay encoded: trained, measured and reported without ever decoding all of them at once."""

import numpy as np
import pytest

import zoo
from tests.processes import keras_skip
from tests.zoo.image_sets import encode
from tests.zoo.photo_sets import as_class_folders, photo
from zoo.analysis.gradients import compare
from zoo.data import rows
from zoo.data.streaming.photos import Photos
from zoo.training import initialization
from zoo.training.evaluation import EVALUATION_BATCH
from zoo.training.initialization import second_moments

SIZE = (12, 12)


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """A folder of more photos than an evaluation batch has, for training and testing."""
    path = tmp_path_factory.mktemp("pets")
    photos = [encode(photo(seed, 16, 20), "JPEG") for seed in range(10)]
    for part in ("train", "test"):
        for kind in ("cat", "dog"):
            (path / part / kind).mkdir(parents=True)
            for number in range(EVALUATION_BATCH // 2 + 20):
                (path / part / kind / f"{number}.jpg").write_bytes(photos[(number + 5 * (kind == "dog")) % 10])
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def sources(pets, cache):
    return [zoo.load_source(pets, image_size=SIZE, stream=stream, cache=cache) for stream in (True, False)]


@pytest.fixture
def few_at_once(monkeypatch):
    """Fails if more images are decoded at once than a batch has."""
    decode = Photos.__getitem__

    def counted(photos, index):
        decoded = decode(photos, index)
        assert decoded.ndim < 4 or len(decoded) <= EVALUATION_BATCH
        return decoded

    monkeypatch.setattr(Photos, "__getitem__", counted)
    monkeypatch.setattr(rows, "_CHUNK", 100 * 12 * 12 * 3)
    monkeypatch.setattr(initialization, "_PIXELS", 100 * 12 * 12 * 3)


OPTIONS = {"epochs": 1, "batch_size": 64, "jit": False, "arguments.depth": 8}


@pytest.mark.usefixtures("few_at_once")
def test_a_streamed_run_is_that_of_decoded_images(sources, tmp_path):
    streamed, cached = sources
    assert streamed.preprocessing == cached.preprocessing
    runs = [
        zoo.train("residual_mlp_digits", source.with_validation(0.1), tmp_path / name, **OPTIONS)
        for name, source in (("streamed", streamed), ("cached", cached))
    ]
    first, second = (zoo.load(run.path).get_weights() for run in runs)
    for ours, theirs in zip(first, second, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    names = ("test_accuracy", "test_loss", "validation_accuracy")
    assert [runs[0].results.get(name) for name in names] == [runs[1].results.get(name) for name in names]
    record = runs[0].source
    assert record["options"]["stream"] is True and (runs[0].path / "report.html").is_file()
    figures = zoo.evaluate(runs[0])
    assert figures["examples"] == len(streamed.test_targets)
    assert figures["accuracy"] == pytest.approx(runs[0].results["test_accuracy"])
    assert zoo.evaluate(runs[0], streamed, tta="mirror")["examples"] == figures["examples"]
    assert len(zoo.lesion(runs[0], streamed, examples=20)) > 2


@pytest.mark.usefixtures("few_at_once")
def test_analyses_decode_only_what_they_need(sources):
    streamed, cached = sources
    highway = zoo.build("highway_mlp", input_shape=(*SIZE, 3), classes=2, depth=3)
    found = zoo.gates(highway, streamed, examples=30)
    expected = zoo.gates(highway, cached, examples=30)
    np.testing.assert_array_equal(found.layers[0].transform, expected.layers[0].transform)
    norms = [compare(["plain_mlp"], source, batch_size=16) for source in sources]
    assert norms[0] == norms[1] != []
    np.testing.assert_array_equal(second_moments(streamed, (2, 2)), second_moments(cached, (2, 2)))


def test_a_damaged_image_is_left_out_of_a_picture(tmp_path):
    contents = as_class_folders(tmp_path / "pets")
    (tmp_path / "pets" / "train" / "cat" / "1.jpg").write_bytes(contents["train/cat/1.jpg"][:100])
    draw = "augmented", "resnet18", "--data", "pets", "--image-size", "12", "--stream", "--examples", "2"
    environment = {"cwd": tmp_path, "KERAS_SKIP_CACHE": str(tmp_path / "cache")}
    advice = keras_skip(*draw, **environment, expect=1).stderr
    assert "--on-bad-image skip" in advice and "1.jpg" in advice
    done = keras_skip(*draw, "--on-bad-image", "skip", **environment)
    assert "Streaming 15 images" in done.stderr and (tmp_path / "augmented.png").is_file()


def test_the_command_line_says_what_it_chose(pets, tmp_path):
    options = "--image-size", "12", "--shorter", "14", "--epochs", "1", "--batch-size", "64"
    options += "--set", "arguments.depth=3"
    out = {}
    for name, option in (("streamed", ["--stream"]), ("cached", [])):
        done = keras_skip(
            "train", "plain_mlp_digits", "--data", pets, *options, *option, "--out", tmp_path / name,
            cwd=tmp_path, KERAS_SKIP_CACHE=str(tmp_path / "cache"),
        )  # fmt: skip
        out[name] = done.stderr
    # 592 * 12 * 12 * 3 bytes.
    assert "Streaming 592 images, which would take 255.7 kB decoded; --cache decodes them once" in out["streamed"]
    assert "592 images, decoded once: 255.7 kB; --stream leaves them encoded" in out["cached"]
    record = zoo.open_run(tmp_path / "streamed").source
    assert record["options"]["stream"] and record["image"]["shorter"] == 14
    listed = keras_skip("cache", cwd=tmp_path, KERAS_SKIP_CACHE=str(tmp_path / "cache")).stdout
    assert listed.count(str(pets)) == 2
