"""Averages over views of an image, against the same views made with NumPy; which views suit which training."""

import io
from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image

import zoo
from tests.zoo.small_runs import OPTIONS
from zoo.data import Augmentation
from zoo.training.tta import VIEWS, resolve_views

COUNTS = {"mirror": 2, "shift": 3, "mirror+shift": 6}


def reflected(image, row, column):
    """The pixel of an image (height, width, channels), which is reflected beyond its edges."""
    places = (
        abs(place) if place < size else 2 * (size - 1) - place
        for place, size in zip((row, column), image.shape, strict=False)
    )
    return image[tuple(places)]


def shifted(images, by):
    """Images whose every pixel is that of a place `by` pixels further, along both sides."""
    height, width = images.shape[1:3]
    rows = range(by, height + by), range(by, width + by)
    return np.array([[[reflected(image, y, x) for x in rows[1]] for y in rows[0]] for image in images])


def by_hand(predict, images, views):
    """The average of the logits, one view after the other."""

    def look(images):
        return (predict(images) + predict(images[:, :, ::-1])) / 2 if "mirror" in views else predict(images)

    if "shift" not in views:
        return look(images)
    return look(images) / 2 + look(shifted(images, 1)) / 4 + look(shifted(images, -1)) / 4


@pytest.fixture(scope="module")
def model():
    # Neither mirrored nor shifted images give the same logits.
    return keras.Sequential(
        [
            keras.Input((5, 7, 2)),
            keras.layers.Conv2D(4, 3, padding="same", activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )


@pytest.mark.parametrize("views", VIEWS)
def test_logits_are_the_average_over_the_views(model, views, tmp_path):
    images = np.random.default_rng(0).normal(size=(4, 5, 7, 2)).astype("float32")
    predict = model.predict_on_batch
    expected = by_hand(predict, images, views)
    assert np.abs(expected - predict(images)).max() > 0.01
    tta = zoo.tta_model(model, views)
    np.testing.assert_allclose(tta.predict_on_batch(images), expected, atol=1e-5)
    assert {id(v) for v in tta.weights} == {id(v) for v in model.weights}
    tta.save(tmp_path / "tta.keras")
    np.testing.assert_allclose(zoo.load(tmp_path / "tta.keras").predict_on_batch(images), expected, atol=1e-5)


def test_channels_may_come_first_and_sizes_be_unknown():
    images = np.random.default_rng(0).normal(size=(2, 9, 10, 3)).astype("float32")
    last = zoo.build("airbench94", (None, None, 3), widths=(4, 4, 4))
    expected = zoo.tta_model(last)(images, training=False)
    keras.config.set_image_data_format("channels_first")
    try:
        first = keras.Sequential([keras.Input((3, None, None)), keras.layers.Permute((2, 3, 1)), last])
        received = zoo.tta_model(first)(np.moveaxis(images, -1, 1))
    finally:
        keras.config.set_image_data_format("channels_last")
    np.testing.assert_allclose(received, expected, atol=1e-5)


@pytest.fixture(scope="module")
def flipped(small_source, tmp_path_factory):
    """A run whose training flips images and does not shift them."""
    out = tmp_path_factory.mktemp("flipped") / "run"
    options = {**OPTIONS, "augment.pad": 0, "augment.flip": True}
    return zoo.train("plain_mlp_digits", small_source, out, **options)


@pytest.mark.parametrize("tta", [True, *VIEWS])
def test_evaluate_measures_the_average_beside_the_plain_figures(flipped, small_source, tta):
    plain, figures = zoo.evaluate(flipped, small_source), zoo.evaluate(flipped, small_source, tta=tta)
    views = "mirror" if tta is True else tta
    assert figures["tta_views"] == views
    assert {name: figures[name] for name in plain} == plain
    images = small_source.preprocessing(small_source.test_inputs)
    logits = by_hand(zoo.load(flipped.path).predict_on_batch, images, views).astype("float64")
    labels = small_source.test_targets
    assert figures["tta_accuracy"] == pytest.approx(np.mean(logits.argmax(1) == labels))
    chosen = logits[np.arange(len(labels)), labels]
    assert figures["tta_loss"] == pytest.approx(np.mean(np.log(np.exp(logits).sum(1)) - chosen), rel=1e-4)
    assert figures["tta_loss"] != pytest.approx(figures["loss"], rel=1e-3)


@pytest.mark.parametrize(
    ("flip", "pad", "views"), [(True, 4, "mirror+shift"), (True, 0, "mirror"), (False, 1, "shift")]
)
def test_views_are_those_that_the_training_had(flip, pad, views):
    assert resolve_views(True, Augmentation(flip=flip, pad=pad)) == views
    assert resolve_views("mirror", Augmentation(flip=flip, pad=pad)) == "mirror"


def test_digits_are_mirrored_only_on_request(run, small_source):
    assert zoo.evaluate(run, small_source, tta=True)["tta_views"] == "shift"
    assert zoo.evaluate("resnet20", small_source, weights="digits", tta=True)["tta_views"] == "shift"


def ten_crops(image, height, width):
    """The corners and the centre of an image, and their mirror images."""
    tall, wide = image.shape[0] - height, image.shape[1] - width
    corners = [(0, 0), (0, wide), (tall, 0), (tall, wide), (round(tall / 2), round(wide / 2))]
    crops = [image[top : top + height, left : left + width] for top, left in corners]
    return np.array(crops + [crop[:, ::-1] for crop in crops])


def figures_of(logits, labels):
    """The cross-entropy and the accuracy."""
    logits = logits.astype("float64")
    loss = np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels])
    return {"loss": pytest.approx(loss, rel=1e-4), "accuracy": pytest.approx(np.mean(logits.argmax(1) == labels))}


def assert_ten_crops(figures, predict, crops, labels):
    """Compares figures with those of crops (images, 10, height, width, channels), the fifth of which is the centre."""
    logits = np.mean([predict(crops[:, place]) for place in range(10)], axis=0)
    expected = {f"tta_{name}": value for name, value in figures_of(logits, labels).items()}
    plain = {**figures_of(predict(crops[:, 4]), labels), "examples": len(labels)}
    assert figures == {**plain, **expected, "tta_views": "ten-crop"}
    assert figures["tta_loss"] != pytest.approx(figures["loss"], rel=1e-3)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_ten_crops_of_larger_images_are_measured_beside_their_centre(model, data_format):
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(60, 8, 10, 2)).astype("float32"), rng.integers(0, 3, 60)
    source = zoo.Source("large", images, labels, images, labels, ("a", "b", "c"), zoo.Preprocessing.identity())
    crops = np.array([ten_crops(image, 5, 7) for image in images])
    network, predict = model, model.predict_on_batch
    keras.config.set_image_data_format(data_format)
    try:
        if data_format == "channels_first":
            network = keras.Sequential([keras.Input((2, 5, 7)), keras.layers.Permute((2, 3, 1)), model])
        figures = zoo.evaluate(network, source, tta="ten-crop")
    finally:
        keras.config.set_image_data_format("channels_last")
    assert_ten_crops(figures, predict, crops, labels)


@pytest.mark.parametrize(("shorter", "workers"), [(None, "0"), (21, "1")])
def test_ten_crops_of_photos_are_cut_from_the_resized_original(shorter, workers, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_SKIP_WORKERS", workers)
    rng, photos = np.random.default_rng(0), []
    for number in range(30):
        place = tmp_path / "abc"[number % 3] / f"{number:02}.png"
        place.parent.mkdir(exist_ok=True)
        # Rough on a scale that resizing keeps.
        rough = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype="uint8"))
        photos.append(rough.resize((50 + number, 80 - number), Image.Resampling.BICUBIC))
        photos[-1].save(place)
    source = zoo.load_source(tmp_path, image_size=(14, 14), shorter=shorter, stream=True, test_fraction=0.5)
    before = shorter or 16
    crops, labels = [], []
    for index in range(len(source.test_inputs)):
        photo = Image.open(io.BytesIO(source.test_inputs.encoded(index)))
        scale = before / min(photo.size)
        resized = photo.resize([int(side * scale + 1e-6) for side in photo.size], Image.Resampling.BICUBIC)
        crops.append(source.preprocessing(ten_crops(np.asarray(resized), 14, 14)))
        labels.append(next(number % 3 for number in range(30) if photos[number].tobytes() == photo.tobytes()))
    np.testing.assert_array_equal(source.test_targets, labels)
    network = keras.Sequential([keras.Input((14, 14, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    figures = zoo.evaluate(network, source, tta="ten-crop")
    if shorter is None:
        # The plain figure is of as much of a photo as fits.
        plain = zoo.evaluate(network, source)
        assert {name: figures.pop(name) for name in plain} == plain
        figures |= figures_of(network.predict_on_batch(np.array(crops)[:, 4]), np.array(labels)) | {"examples": 15}
        figures = {name: getattr(value, "expected", value) for name, value in figures.items()}
    assert_ten_crops(figures, network.predict_on_batch, np.array(crops), np.array(labels))


def test_ten_crops_need_images_that_are_larger(model, small_source):
    images, labels = np.zeros((4, 5, 7, 2), "uint8"), np.arange(4) % 3
    same = zoo.Source("same", images, labels, images, labels, ("a", "b", "c"), zoo.Preprocessing.identity())
    with pytest.raises(
        ValueError, match=r"larger than the network's input, \(5, 7\), or streamed photos .* shape \(5, 7, 2\)"
    ):
        zoo.evaluate(model, same, tta="ten-crop")
    with pytest.raises(ValueError, match=r"Expected images larger than .* \(32, 32\), .* shape \(8, 8, 1\)"):
        zoo.evaluate(zoo.build("resnet20", (32, 32, 1)), small_source, tta="ten-crop")
    masks = np.zeros((4, 5, 7), "uint8") + np.arange(7, dtype="uint8") % 2
    masked = zoo.Source("ink", images, masks, images, masks, ("a", "b"), same.preprocessing, task="segmentation")
    with pytest.raises(
        ValueError, match="Expected classification or regression for ten crops. Received: ink, for segmentation"
    ):
        zoo.evaluate(model, masked, tta="ten-crop")
    with pytest.raises(ValueError, match="Expected views to be one of mirror, .* Received: .ten-crop."):
        zoo.tta_model(model, "ten-crop")


def test_unknown_views_are_refused(model, run, small_source, tmp_path):
    with pytest.raises(ValueError, match=r"Expected tta to be one of .* Received: 'mirrored'\. Did you mean mirror\?"):
        zoo.evaluate(run, small_source, tta="mirrored")
    with pytest.raises(ValueError, match="Expected views to be one of"):
        zoo.tta_model(model, "six")
    with pytest.raises(ValueError, match="Expected the name of views for a model whose training is unknown"):
        zoo.evaluate(zoo.build("plain_mlp", (8, 8, 1)), small_source, tta=True)
    with pytest.raises(ValueError, match=r"had none of them: mirror, .* augment\.flip=False, augment\.pad=0"):
        resolve_views(True, Augmentation())
    maps = keras.Sequential([keras.Input((5, 7, 2)), keras.layers.Conv2D(4, 3)])
    with pytest.raises(ValueError, match="Expected a network from images to logits"):
        zoo.tta_model(maps)


def test_a_batch_of_views_is_no_larger_than_one_of_images(flipped, small_source, monkeypatch):
    sizes = []
    original = zoo.Batches.__init__

    def record(self, images, labels, classes, preprocessing, batch_size, **options):
        sizes.append(batch_size)
        original(self, images, labels, classes, preprocessing, batch_size, **options)

    monkeypatch.setattr(zoo.Batches, "__init__", record)
    for views, count in COUNTS.items():
        sizes.clear()
        zoo.evaluate(flipped, replace(small_source, name="same"), tta=views)
        assert sizes == [256, 256 // count]
