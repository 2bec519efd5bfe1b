"""The recipes for ImageNet: each takes ten steps on 100 photos by its name from the shell."""

import json

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image

import zoo
from tests.processes import keras_skip
from tests.sweep import sweep
from zoo.cli._options import resizing_images
from zoo.networks.catalogue import MODELS
from zoo.training.choice import choose_recipe
from zoo.training.imagenet import IMAGENET
from zoo.training.request import Request
from zoo.training.schedules import Rate

NAMES = [name for name in zoo.list_recipes() if zoo.get_recipe(name).source == IMAGENET]
# What has to be smaller on images of 64 pixels in batches of 10, and networks with a block in each stage.
SMALLER = {
    "resnet18_imagenet": ("--set", "arguments.depth=10"),
    "resnet50_a3_imagenet": (
        *("--set", "accumulate=2", "--set", "augment.sizes=((0.0, 48),)"),
        *("--set", "arguments.depth=14"),
    ),
}


def test_every_network_of_the_list_has_a_recipe():
    networks = ("resnet18", "resnet50", "resnet101", "wide_resnet50_2", "resnet50_v2", "densenet121")
    assert sorted(NAMES) == sorted([*(f"{name}_imagenet" for name in networks), "resnet50_a3_imagenet"])


# The rate by epoch: Goyal et al.'s table of it, the fb.resnet.torch and DenseNet code, and procedure A3.
GOYAL = {2.5: 0.05, 5.1: 0.1, 29.9: 0.1, 30.1: 1e-2, 59.9: 1e-2, 60.1: 1e-3, 79.9: 1e-3, 80.1: 1e-4, 89.9: 1e-4}
TWO_STEPS = {0.1: 0.1, 29.9: 0.1, 30.1: 1e-2, 59.9: 1e-2, 60.1: 1e-3, 89.9: 1e-3}
A3 = {2.5: 4e-3, 5: 8e-3, 52.5: 4e-3, 99.99: 0.0}
# Of each: the rates, epochs, images of a batch, decay, whether biases and normalisations are decayed too, and whether
# blocks start as their shortcuts.
PAPERS = {
    "resnet18_imagenet": (GOYAL, 90, 256, 1e-4, False, True),
    "resnet50_imagenet": (GOYAL, 90, 256, 1e-4, False, True),
    "resnet101_imagenet": (GOYAL, 90, 256, 1e-4, False, True),
    "wide_resnet50_2_imagenet": (GOYAL, 90, 256, 1e-4, True, False),
    "resnet50_v2_imagenet": (TWO_STEPS, 90, 256, 1e-4, False, False),
    "densenet121_imagenet": (TWO_STEPS, 90, 256, 1e-4, True, False),
    "resnet50_a3_imagenet": (A3, 100, 2048, 0.02, False, True),
}


@pytest.mark.parametrize("name", NAMES)
def test_recipes_do_what_the_papers_did(name):
    recipe, (rates, epochs, *others) = zoo.get_recipe(name), PAPERS[name]
    rate = Rate.from_recipe(recipe, epochs * 1000)
    for epoch, expected in rates.items():
        assert float(rate(round(epoch * 1000))) == pytest.approx(expected, rel=2e-3, abs=1e-7), epoch
    optimizer = recipe.optimizer
    found = [recipe.batch_size, optimizer.weight_decay, optimizer.decay_norm_and_bias]
    assert [recipe.epochs, *found, recipe.arguments.get("zero_init_gamma", False)] == [epochs, *others]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """100 training photos and 10 to measure, JPEG files of several sizes: parts of two photos, and digits."""
    folder = tmp_path_factory.mktemp("photos")
    rng, digits = np.random.default_rng(0), load_digits().images
    for number in range(110):
        kind = ("china", "flower", "digit")[number % 3]
        part = "train" if number < 100 else "val"
        if kind == "digit":
            image = Image.fromarray((digits[number] * 15.9).astype("uint8")).resize((80, 96)).convert("RGB")
        else:
            (top, left), (height, width) = rng.integers(0, 200, 2), rng.integers(70, 200, 2)
            image = Image.fromarray(load_sample_image(f"{kind}.jpg")[top : top + height, left : left + width])
        (folder / part / kind).mkdir(parents=True, exist_ok=True)
        image.save(folder / part / kind / f"{number}.jpg")
    return folder


@pytest.mark.parametrize("name", sweep(NAMES, {"resnet18_imagenet", "resnet50_a3_imagenet"}))
def test_ten_steps_on_photos(name, photos, tmp_path):
    options = "--data", photos, "--image-size", 64, "--set", "batch_size=10", "--epochs", 1, "--out", "run"
    streamed = ("--stream",) if "resnet50" in name else ()
    cache = {"KERAS_SKIP_CACHE": str(photos.parent / "cache")}
    keras_skip("train", name, *options, *streamed, *SMALLER.get(name, ()), cwd=tmp_path, **cache)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["source"]["examples"] == {"train": 100, "test": 10}
    assert record["source"]["options"]["image_size"] == [64, 64]
    assert record["source"]["options"]["shorter"] == (67 if "a3" in name else 73)
    assert record["recipe"]["image_size"] == [224, 224] and record["recipe"]["name"] == name
    assert (tmp_path / "run" / "checkpoints" / "step-000000010.npz").is_file()
    assert np.isfinite(record["results"]["test_loss"])


def test_a_recipe_without_its_data_says_what_it_needs(tmp_path):
    done = keras_skip("train", "resnet50_imagenet", cwd=tmp_path, expect=1)
    assert done.stderr.splitlines()[-1].startswith("Error: Expected data for resnet50_imagenet, such as a folder")
    assert not list(tmp_path.iterdir())


def test_a_comparison_reads_photos_as_the_recipe_says(photos, tmp_path, own_cache, no_report):
    settings = {"epochs": 1, "batch_size": 50, "image_size": 32, "shorter": 32}
    runs = zoo.compare(["plain_mlp:depth=3"], tmp_path, str(photos), recipe="resnet50_v2_imagenet", seeds=1, **settings)
    (run,) = runs["plain_mlp:depth=3"]
    assert run.source["options"]["image_size"] == [32, 32] and run.source["options"]["shorter"] == 32
    with pytest.raises(ValueError, match="Expected data for resnet50_v2_imagenet"):
        zoo.compare(["plain_mlp:depth=3"], tmp_path / "other", recipe="resnet50_v2_imagenet")


def reading(recipe, data="photos", given=None, **overrides):
    return Request(recipe, overrides={"source": data, **overrides}).reading(data, given or {})


@pytest.mark.parametrize("resize", ["crop", "stretch"])
def test_the_command_line_resizes_as_it_is_told(resize):
    assert resizing_images("48x64", resize) == {"image_size": (48, 64), "resize": resize}


def test_a_recipe_says_how_photos_are_read_unless_that_is_asked_for():
    assert reading("resnet50_imagenet") == {"image_size": (224, 224), "shorter": 256}
    # In proportion: 256 / 224 of another height, but never less than the longer side.
    assert reading("resnet50_imagenet", given={"image_size": (64, 64)})["shorter"] == 73
    assert reading("resnet50_imagenet", given={"image_size": (64, 96)})["shorter"] == 96
    given = {"image_size": (64, 64), "shorter": 70}
    assert reading("resnet50_imagenet", given=given) == given
    assert "shorter" not in reading("resnet50_imagenet", given={"image_size": (64, 64), "resize": "stretch"})
    assert reading("resnet50_imagenet", image_size=128, shorter=128) == {"image_size": (128, 128), "shorter": 128}
    for data in ("digits", "arrays.npz", "ARRAYS.NPZ"):
        assert reading("resnet50_imagenet", data) == {}
    assert reading("resnet20_digits") == {}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"image_size": (0, 5)},
            r"Expected image_size to be \(height, width\) in pixels. Received: image_size=\(0, 5\)",
        ),
        ({"shorter": 100}, "Expected shorter to be None without image_size. Received: shorter=100"),
        ({"image_size": (32, 48), "shorter": 40}, "Expected shorter to be a whole number of at least 48"),
    ],
)
def test_wrong_sizes_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        zoo.get_recipe("resnet20_digits").changed(settings)


def test_photos_of_several_sizes_get_the_size_of_the_networks_recipe(photos, own_cache):
    source = Request("resnet18", overrides={"source": str(photos)}).load(str(photos))
    assert source.input_shape == (224, 224, 3) and source.image.shorter == 256
    with pytest.raises(ValueError, match="image_size"):
        Request("resnet20", overrides={"source": str(photos)}).load(str(photos))


@pytest.mark.parametrize(
    ("network", "examples", "image", "name"),
    [
        ("resnet50", 1_281_167, [224, 224, 3], "resnet50_imagenet"),
        ("resnet50", 100_000, [64, 64, 3], "resnet50_imagenet"),
        ("resnet50", 99_999, [224, 224, 3], "resnet50_few"),
        ("resnet50", 1_281_167, [32, 32, 3], "resnet50_few"),
        ("resnet50", 1_281_167, None, "resnet50_few"),
        ("resnet34", 1_281_167, [224, 224, 3], "resnet34_few"),
    ],
)
def test_photos_as_many_as_those_of_imagenet_get_its_recipe(network, examples, image, name):
    assert choose_recipe(network, {"data": "/photos", "examples": examples, "image": image}).name == name


@pytest.mark.parametrize("name", NAMES)
def test_cost_is_counted_from_the_networks_multiply_adds(name):
    recipe = zoo.get_recipe(name)
    scale = (160 / 224) ** 2 if "a3" in name else 1
    adds = 3 * recipe.epochs * 1_281_167 * MODELS[recipe.network].multiply_adds * scale
    whole, _, rest = recipe.cost.removeprefix("not run to the end here; ").partition(" ")
    assert float(whole) == pytest.approx(adds, rel=0.05) and rest.startswith("multiply-adds")
    assert "top-1" in recipe.paper and "arXiv" in recipe.paper and not recipe.result


def test_describe_shows_the_recipes_with_what_they_should_cost_and_reach(tmp_path):
    shown = keras_skip("describe", "resnet50", cwd=tmp_path).stdout
    for text in (
        "resnet50_imagenet",
        "76.4 % top-1",
        "256 GPU hours",
        "resnet50_a3_imagenet",
        "78.1 % top-1",
        "2110.00476",
    ):
        assert text in shown
