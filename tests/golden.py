"""Reference outputs of other libraries' networks, whose weights are a function of their names.

KERAS_SKIP_GOLDEN names their folder; by default it is ../shared/golden. LIBRARY_NETWORK.npz holds an input x, the
output y, and the names and shapes of the weights.
"""

import json
import os
import pathlib
import zlib
from typing import NamedTuple

import numpy as np
import pytest
from safetensors.numpy import save_file

GOLDEN = pathlib.Path(os.environ.get("KERAS_SKIP_GOLDEN", pathlib.Path(__file__).parents[2] / "shared" / "golden"))


class Reference(NamedTuple):
    """An input and its output, channels first where they have any, and the shapes of the weights."""

    x: np.ndarray
    y: np.ndarray
    shapes: dict[str, tuple[int, ...]]


def read_reference(name):
    """Reads the reference of a network; skips the test that asks where there is none."""
    path = GOLDEN / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {GOLDEN}: set KERAS_SKIP_GOLDEN to the folder of the reference outputs")
    with np.load(path) as golden:
        shapes = {weight: tuple(shape) for weight, shape in json.loads(str(golden["state_dict"]))}
        return Reference(golden["x"], golden["y"], shapes)


def golden_weight(name, shape):
    """The weight of that name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, "int64")
    return _draw(rng, name, shape).astype("float32")


def _draw(rng, name, shape):
    if name.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape)
    if name.endswith("running_mean"):
        return rng.normal(0, 0.1, shape)
    if name.endswith(("layer_scale", "gamma")):
        return rng.uniform(0.1, 0.5, shape)
    if len(shape) >= 3:
        return rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    if len(shape) == 2:
        return rng.standard_normal(shape) * np.sqrt(1 / shape[1])
    return rng.uniform(0.3, 0.7, shape) if name.endswith("weight") else rng.normal(0, 0.1, shape)


def state(shapes):
    """A state dict, each array a function of its name."""
    return {name: golden_weight(name, tuple(shape)) for name, shape in shapes.items()}


def write(arrays, path):
    """Writes the arrays as safetensors, or as torch writes them."""
    if path.suffix == ".safetensors":
        save_file({name: np.asarray(array) for name, array in arrays.items()}, path)
    else:
        torch = pytest.importorskip("torch", reason="torch, which writes .pth files, is not installed")
        torch.save({name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}, path)
    return path
