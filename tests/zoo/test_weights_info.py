"""What weights expect and give: by name, in files of other libraries, and of runs; and the export that uses it."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from sklearn.datasets import load_sample_image

import export
import zoo
from export.images import ImageReader
from zoo.networks.catalogue import MODELS
from zoo.weights.loading import naming_of

ROOT = Path(__file__).parents[2]
PUBLISHED = [(name, row.name) for name, entry in MODELS.items() for row in entry.weights]
# The function of keras.applications that prepares images for a network of these names.
MODULES = {"_keras": "resnet", "_v2": "resnet_v2", "densenet": "densenet", "convnext": "densenet"}


@pytest.mark.parametrize(("network", "weights"), PUBLISHED)
def test_published_weights_expect_what_keras_gives_them(network, weights):
    info = zoo.weights_info(network, weights)
    module = next(module for part, module in MODULES.items() if part in network)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), "uint8")
    expected = getattr(keras.applications, module).preprocess_input(pixels.astype("float32"))
    np.testing.assert_allclose(info.preprocessing(pixels), expected, rtol=1e-5, atol=1e-4)
    assert info.image == ImageReader((224, 224), 3, "crop", 256, "bicubic" if "convnext" in network else "bilinear")
    assert len(info.class_names) == len(set(info.class_names)) == 1000
    assert zoo.Preprocessing.from_dict(json.loads(json.dumps(info.preprocessing.as_dict()))) == info.preprocessing


def test_convnext_does_in_keras_what_densenet_is_given():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    whole = keras.applications.ConvNeXtTiny(weights=None, include_top=False, input_shape=(32, 32, 3))
    inside = keras.Model(whole.input, whole.get_layer("convnext_tiny_prestem_normalization").output)
    expected = zoo.weights_info("convnext_tiny", "imagenet").preprocessing(pixels)
    np.testing.assert_allclose(inside(pixels), expected, atol=1e-4)


def test_the_classes_are_in_the_order_of_imagenet():
    names = zoo.weights_info("resnet50_keras", "imagenet").class_names
    assert names[:2] == ("tench", "goldfish") and names[999] == "toilet tissue"
    assert [names.index(name) for name in ("tabby", "Egyptian cat", "golden retriever", "espresso")] == [
        281,
        285,
        207,
        967,
    ]


def test_shipped_weights_say_what_their_card_says():
    card, info = zoo.card("resnet20", "cifar10"), zoo.weights_info("resnet20", "cifar10")
    assert info.preprocessing == zoo.Preprocessing.from_dict(card.preprocessing)
    assert (info.class_names, info.known_from) == (card.class_names, "its card")
    assert card.image is None and info.image == ImageReader((32, 32), 3, "stretch"), "as before there was a choice"
    assert zoo.weights_info("highway_mlp", "digits").image is None


def write_torch(path, network, **arguments):
    """Random weights under the names of torchvision and timm."""
    model = zoo.build(network, input_shape=(64, 64, 3), **arguments)
    namings = MODELS[network].family.namings_on(())
    (naming,) = [naming for naming in namings if naming.library in ("torchvision or timm", "torchvision")][:1]
    arrays = {}
    for variable in model.weights:
        array = np.asarray(variable)
        last = (array.ndim - 1, array.ndim - 2, *range(array.ndim - 2)) if array.ndim > 1 else (0,)
        arrays[naming.theirs(variable.path)] = np.ascontiguousarray(array.transpose(last))
    save_file(arrays, path)
    assert naming_of(network, arrays) == naming
    return path


@pytest.fixture(scope="module")
def torch_file(tmp_path_factory):
    return write_torch(tmp_path_factory.mktemp("torch") / "resnet50-0676ba61.safetensors", "resnet18", classes=1000)


def test_files_of_torchvision_are_cropped_as_there(torch_file, tmp_path):
    torch = zoo.Preprocessing(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    info = zoo.weights_info("resnet18", torch_file)
    assert info.preprocessing == torch and info.class_names[0] == "tench"
    assert info.image == ImageReader((224, 224), 3, "crop", 256, "bilinear")
    # torchvision's ResNet50_Weights.IMAGENET1K_V2 resizes to 232.
    second = shutil.copy(torch_file, tmp_path / "resnet50-11ad3fa6.safetensors")
    assert zoo.weights_info("resnet18", second).image.shorter == 232
    named = zoo.weights_info("resnet18", shutil.copy(torch_file, tmp_path / "mine.safetensors"))
    assert named.image.shorter == 256 and "most weights" in named.known_from


def test_the_config_of_timm_beside_a_file_is_read(torch_file, tmp_path):
    file = shutil.copy(torch_file, tmp_path / "model.safetensors")
    config = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.5, 0.5], "interpolation": "bicubic", "crop_pct": 0.95}
    config |= {"input_size": [3, 224, 224], "crop_mode": "center", "num_classes": 1000}

    def info(**changes):
        (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": config | changes}))
        return zoo.weights_info("resnet18", file)

    assert info().preprocessing == zoo.Preprocessing(1 / 255, (0.5, 0.5, 0.5), (0.25, 0.5, 0.5))
    # timm: floor(224 / 0.95) = 235
    assert info().image == ImageReader((224, 224), 3, "crop", 235, "bicubic")
    squash = info(input_size=[3, 384, 384], crop_pct=1.0, crop_mode="squash")
    assert squash.image == ImageReader((384, 384), 3, "stretch", None, "bicubic")
    small = info(input_size=[3, 96, 96]).image.size
    (best,) = zoo.Classifier("resnet18", file).classify(np.zeros((50, 70, 3), "uint8"), top=1000)
    assert small == (96, 96) and sum(probability for _, probability in best) == pytest.approx(1, abs=1e-4)
    with pytest.raises(ValueError, match="Expected a config.json of timm with a square input .* crop_mode='border'"):
        info(crop_mode="border")
    (tmp_path / "config.json").write_text("{}")
    assert zoo.weights_info("resnet18", file).image.shorter == 256


def test_a_head_of_other_classes_has_no_names(tmp_path):
    file = write_torch(tmp_path / "other.safetensors", "resnet18", classes=7)
    assert zoo.weights_info("resnet18", file).class_names == ()


def test_a_file_that_nobody_describes_is_refused(tmp_path):
    zoo.build("plain_mlp").save_weights(tmp_path / "mine.weights.h5")
    with pytest.raises(ValueError, match="Expected weights for which it is known how .*mine.weights.h5'$"):
        zoo.weights_info("plain_mlp", tmp_path / "mine.weights.h5")
    with pytest.raises(ValueError, match="Expected weights of resnet50 by name"):
        zoo.weights_info("resnet50", "nothing")
    with pytest.raises(ValueError, match="nonet"):
        zoo.weights_info("nonet", "imagenet")


EXPORT = """
import sys, zoo
from dataclasses import replace
from zoo.networks.catalogue import MODELS
from zoo.weights.imagenet import CAFFE, crop_reader
from zoo.weights.published import Published
row = Published("imagenet", *sys.argv[1:3], CAFFE, {"input_shape": (32, 32, 3)}, crop_reader(32, 36))
MODELS["resnet20"] = replace(MODELS["resnet20"], weights=(row,))
from zoo.cli import main
sys.argv[1:] = ["export", "resnet20", "--weights", "imagenet", "--format", "onnx"]
main()
"""


def test_export_takes_preprocessing_reader_and_classes_from_the_weights(tmp_path):
    """With files as keras.applications publishes them, downloaded from this machine."""
    model = zoo.build("resnet20", input_shape=(32, 32, 3), classes=1000)
    stem = model.layers[1]
    stem.set_weights([kernel / 50 for kernel in stem.get_weights()])
    model.save_weights(tmp_path / "published.weights.h5")
    file_hash = hashlib.md5((tmp_path / "published.weights.h5").read_bytes()).hexdigest()
    environment = {**os.environ, "KERAS_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    (tmp_path / "home").mkdir()
    command = [sys.executable, "-c", EXPORT, (tmp_path / "published.weights.h5").as_uri(), file_hash]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    photo = load_sample_image("china.jpg")
    # int(36 * 640 / 427) = 53 columns, of which the middle 32 stay: (53 - 32) / 2 = 10.5, rounded to the even 10.
    small = np.asarray(Image.fromarray(photo).resize((53, 36), Image.Resampling.BILINEAR))[2:34, 10:42]
    given = keras.applications.resnet.preprocess_input(small[None].astype("float32"))
    expected = np.asarray(keras.ops.softmax(model(given)))[0]
    (named,) = export.load(tmp_path / "resnet20-imagenet-export").classify(photo, top=3)
    names = zoo.weights_info("resnet50_keras", "imagenet").class_names
    assert [label for label, _ in named] == [names[i] for i in np.argsort(-expected)[:3]]
    assert [probability for _, probability in named] == pytest.approx(np.sort(expected)[::-1][:3], abs=1e-6)
