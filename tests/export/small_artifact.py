"""An artifact of the smallest network, and how its manifest is edited."""

import json
from pathlib import Path

import keras
from keras import layers

import export
from export.storage.manifest import _hash_content

RAW = export.Preprocessing("uint8", scale=1 / 255, mean=(0.1, 0.2, 0.3), std=0.5)


def small(path: Path, **options) -> Path:
    inputs = keras.Input((3, 4, 3), name="x")
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(inputs)), name="small")
    given = {"preprocessing": RAW, "activation": "softmax", "labels": ["a", "b"], "batch_sizes": (1, 2), **options}
    return export.export(model, path, device="cpu", **given).path


def seal(folder: Path, manifest: dict) -> Path:
    manifest["sha256"] = _hash_content(manifest)
    (folder / "artifact.json").write_text(json.dumps(manifest))
    return folder


def edit(folder: Path, change) -> Path:
    manifest = json.loads((folder / "artifact.json").read_text())
    change(manifest)
    return seal(folder, manifest)


TENSOR = {"name": "more", "shape": [None, 2], "dtype": "float32"}
