"""Weights by name: the table is Keras's own, and the files come from its cache, with the right hash or not at all."""

import hashlib
import inspect
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import pytest
from keras.src.applications import densenet, resnet

import zoo
from zoo.networks.catalogue import MODELS
from zoo.weights import available
from zoo.weights.published import HERE, Published

ROOT = Path(__file__).parents[2]
RESNETS = {
    f"resnet{depth}{ours}": f"resnet{depth}{theirs}"
    for depth in (50, 101, 152)
    for ours, theirs in (("_keras", ""), ("_v2", "v2"))
}


def test_the_weights_of_a_network_have_different_names():
    for name in MODELS:
        assert len(set(available(name))) == len(available(name))
    assert available("resnet50_keras") == ("imagenet",)
    assert available("resnet50") == available("nothing") == ()


@pytest.mark.parametrize("name", RESNETS)
def test_residual_networks_have_the_files_of_keras(name):
    (row,) = MODELS[name].weights
    assert row.file_hash == resnet.WEIGHTS_HASHES[RESNETS[name]][0]
    assert row.origin == f"{resnet.BASE_WEIGHTS_PATH}{RESNETS[name]}_weights_tf_dim_ordering_tf_kernels.h5"


@pytest.mark.parametrize("depth", [121, 169, 201])
def test_densely_connected_networks_have_the_files_of_keras(depth):
    (row,) = MODELS[f"densenet{depth}"].weights
    assert row.origin == getattr(densenet, f"DENSENET{depth}_WEIGHT_PATH")
    pattern = rf'DENSENET{depth}_WEIGHT_PATH,\s+cache_subdir="models",\s+file_hash="(\w+)"'
    assert [row.file_hash] == re.findall(pattern, inspect.getsource(densenet.DenseNet))


DOWNLOAD = """
import pathlib, sys, numpy as np, zoo
from dataclasses import replace
from zoo.networks.catalogue import MODELS
origin, file_hash = sys.argv[1:]
entry = MODELS["densenet121"]
(row,) = entry.weights
MODELS["densenet121"] = replace(entry, weights=(replace(row, origin=origin, file_hash=file_hash),))
for attempt in range(2):
    model = zoo.load("densenet121", weights="imagenet", input_shape=(32, 32, 3))
    pathlib.Path(origin.removeprefix("file://")).unlink(missing_ok=True)  # the second time it is in the cache
print("LOADED", model.output_shape, model.get_layer("stem_norm").epsilon)
MODELS["densenet121"] = replace(entry, weights=(replace(row, origin=origin, file_hash="0" * 32),))
try:
    zoo.load("densenet121", weights="imagenet", input_shape=(32, 32, 3))
except OSError as error:
    print("REFUSED", error)
"""


def test_imagenet_is_downloaded_once_and_checked(tmp_path):
    original = keras.applications.DenseNet121(weights=None, input_shape=(32, 32, 3), classes=6)
    source = tmp_path / "published.weights.h5"
    original.save_weights(source)
    file_hash = hashlib.md5(source.read_bytes()).hexdigest()
    environment = {**os.environ, "KERAS_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", DOWNLOAD, source.as_uri(), file_hash]
    (tmp_path / "home").mkdir()
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("Downloading data") == 2, "once for the weights, once for those with another hash"
    assert "LOADED (None, 6) 1.001e-05" in result.stdout
    assert f"REFUSED {source.as_uri()} cannot be downloaded: URL fetch failure" in result.stdout


def test_a_new_row_is_a_new_set_of_weights(tmp_path, monkeypatch):
    model = zoo.build("plain_mlp", depth=4)
    path = tmp_path / "plain.weights.h5"
    model.save_weights(path)
    row = Published("other", str(path), hashlib.sha256(path.read_bytes()).hexdigest(), {}, {"depth": 4})
    assert HERE / row.origin == path, "relative paths begin in the package"
    monkeypatch.setitem(MODELS, "plain_mlp", replace(MODELS["plain_mlp"], weights=(row,)))
    loaded = zoo.load("plain_mlp", weights="other")
    assert [v.path for v in loaded.weights] == [v.path for v in model.weights]
    with pytest.raises(ValueError, match=r"of plain_mlp by name \('other' or 'digits'.*\).* Received: weights='othr'"):
        zoo.load("plain_mlp", weights="othr")
    with pytest.raises(ValueError, match=r"weights='other'; it exists for plain_mlp"):
        zoo.load("residual_mlp", weights="other")
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(OSError, match=r"Expected .*plain\.weights\.h5' with the SHA-256 .* Received: "):
        zoo.load("plain_mlp", weights="other")
