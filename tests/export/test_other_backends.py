"""Models on JAX and PyTorch: a process on TensorFlow converts them, and their own answers decide."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from tests.processes import run_code

SCRIPT = "import runpy; runpy.run_module('tests.export.other_backends', run_name='__main__')"
QUICK = ("dictionary", "dynamic_time", "of_script")
# Networks, and those of test_keras_layers, with an output for each layer.
LAYERS = (
    ("sequences", "recurrent"),
    ("images", "volumes", "films"),
    ("vectors", "photos", "sounds", "tokens", "resnet", "highway"),
)
REFUSED = {
    "native": r"can be rebuilt from its config on tensorflow, which converts it. Received: .*Local.call",
    "locked": r"another process can get.* Received: Local \(TypeError: cannot pickle '_thread.lock' object",
    "shear": r"can be rebuilt.* Received: one that raised The `factor` argument",
}
# The sums of spectrograms, and a network of 16 layers with random weights, add up more roundings.
ALLOWED = {"highway": 5e-5, "sounds": 2e-5}


def needs(*packages: str) -> pytest.MarkDecorator:
    absent = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(absent), reason=f"needs {', '.join(absent)}")


BACKENDS = pytest.mark.parametrize(
    "backend", [pytest.param("jax", marks=needs("jax")), pytest.param("torch", marks=needs("torch"))]
)


def convert(backend: str, engine: str, names: tuple[str, ...], folder: Path, before: str = "") -> dict[str, dict]:
    """The result of exporting each case."""
    lines = run_code(before + SCRIPT, engine, *names, cwd=folder, KERAS_BACKEND=backend).splitlines()
    return {result.pop("name"): result for result in map(json.loads, lines)}


def assert_all_agree(results: dict[str, dict]) -> None:
    for name, result in results.items():
        assert "error" not in result, (name, result)
        far = {key: y for key, y in result["differences"].items() if y > ALLOWED.get(name, 1e-5)}
        assert result["differences"] and not far, (name, far)


@BACKENDS
def test_a_file_gives_what_the_model_gives_on_its_own_backend_or_is_refused(backend, tmp_path):
    results = convert(backend, "tf2onnx", (*QUICK, *REFUSED), tmp_path)
    for name, sentence in REFUSED.items():
        assert re.search(sentence, results.pop(name)["error"]), name
    assert_all_agree(results)


@pytest.mark.complete
@pytest.mark.parametrize("names", LAYERS, ids=lambda names: names[0])
@BACKENDS
def test_every_layer_of_keras_and_networks_agree_with_their_own_backend(backend, names, tmp_path):
    assert_all_agree(convert(backend, "tf2onnx", names, tmp_path))


WITHOUT = "import sys; sys.modules['tensorflow'] = None\n"  # `import tensorflow` raises ModuleNotFoundError


@pytest.mark.parametrize(
    ("backend", "engine"),
    [
        pytest.param("jax", "jax2onnx", marks=needs("jax", "jax2onnx")),
        pytest.param("torch", "torch", marks=needs("torch", "onnxscript")),
    ],
)
def test_without_tensorflow_the_engine_of_the_backend_converts(backend, engine, tmp_path):
    assert_all_agree(convert(backend, engine, ("dictionary", "resnet", "of_script"), tmp_path, WITHOUT))


NO_ENGINE = """
import sys; sys.modules["tensorflow"] = sys.modules["jax2onnx"] = None
import keras, export
for options in ({}, {"engine": "tf2onnx"}, {"engine": "torch"}):
    try:
        export.to_onnx(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]), "m.onnx", **options)
    except ValueError as error:
        print(error)
"""


@needs("jax")
def test_a_missing_engine_is_named(tmp_path):
    assert run_code(NO_ENGINE, cwd=tmp_path, KERAS_BACKEND="jax").splitlines() == [
        "Expected jax2onnx to be installed, to convert a model on jax. Received: none",
        "Expected tensorflow to be installed, to convert a model on jax. Received: none",
        "Expected engine to be one of ('tf2onnx', 'jax2onnx') for a model on jax. Received: engine='torch', "
        "which needs KERAS_BACKEND=torch",
    ]
    assert list(tmp_path.iterdir()) == []
