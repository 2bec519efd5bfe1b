"""The lines of docs/howto/install.md that install only a part: each part runs where nothing else is installed.

No test needs the network: the packages of a line, and what they require, come from the environment of the tests.
"""

import json
import re
import shlex
import subprocess
import tomllib
import urllib.request
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.packaging.environments import Environment, add_packages, create_environment, run
from tests.processes import QUICK_JAX

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "howto" / "install.md").read_text(encoding="utf-8")
LINES = {
    packages: shlex.split(packages)
    for packages in re.findall(r"^pip install (.+) && pip install --no-deps \.$", PAGE, re.M)
}
JAX, TORCH, PREDICTOR, SERVER = LINES.values()

# What is not there: a part that found it would prove nothing.
MISSING = """
import importlib.util
print([name for name in {names} if importlib.util.find_spec(name)])
"""
TRAIN = (
    MISSING.format(names=("tensorflow", "onnxruntime", "onnx", "lazy_loader", "matplotlib", "sklearn"))
    + """
import keras, keras_skip
import numpy as np

inputs = keras.Input((8, 8, 3))
x = keras_skip.ResidualBlock(8, strides=2, survival_prob=0.8)(inputs)
x = keras_skip.HighwayBlock()(keras.layers.GlobalAveragePooling2D()(x))
model = keras.Model(inputs, keras.layers.Dense(2)(x))
images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
model.compile("sgd", "mse")
model.fit(images, np.zeros((4, 2)), verbose=0)
model.save("model.keras")
again = keras.models.load_model("model.keras")
assert np.allclose(model.predict(images, verbose=0), again.predict(images, verbose=0), atol=1e-6)
print(keras.backend.backend())
"""
)
NO_KERAS = MISSING.format(names=("keras", "tensorflow", "jax", "tf2onnx", "matplotlib", "sklearn"))
PREDICT = (
    NO_KERAS
    + """
import sys, export, numpy
print(export.load(sys.argv[1]).predict(numpy.float32([[1, 2]])).tolist())
"""
)


@pytest.fixture
def install(wheel, tmp_path):
    def install(packages: list[str]) -> Environment:
        environment = create_environment(tmp_path / "environment", wheel)
        add_packages(environment, packages)
        return environment

    return install


@pytest.fixture(scope="module")
def artifact(tmp_path_factory) -> Path:
    """A network that adds its two inputs."""
    import keras

    import export

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones", name="sum")])
    return export.export(model, tmp_path_factory.mktemp("artifact") / "sum", formats=["onnx"], name="sum").path


@contextmanager
def serving(environment: Environment, artifact: Path):
    """The port of a server in a process of its own, once it is ready."""
    command = [environment.scripts / "keras-skip", "serve", artifact, "--port", "0"]
    with subprocess.Popen(command, cwd=artifact.parent, stderr=subprocess.PIPE, text=True) as process:
        try:
            lines = []
            for line in process.stderr:
                lines.append(line)
                if "ready: " in line:
                    break
            (port,) = re.findall(r"listening on \S+:(\d+)", "".join(lines)) or pytest.fail("".join(lines))
            yield int(port)
        finally:
            process.terminate()


def ask(url: str, body: bytes | None = None) -> dict:
    with urllib.request.urlopen(url, body, timeout=60) as answer:
        return json.load(answer)


@pytest.mark.parametrize(("backend", "packages"), [("jax", JAX), ("torch", TORCH)])
def test_layers_run_on_one_backend_alone(backend, packages, install, tmp_path):
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    environment = install(packages)
    done = run(environment.scripts / "python", "-c", TRAIN, cwd=tmp_path, KERAS_BACKEND=backend, **QUICK_JAX)
    assert done.stdout == f"[]\n{backend}\n", done.stderr


def test_the_predictor_runs_alone(install, artifact, tmp_path):
    done = run(install(PREDICTOR).scripts / "python", "-c", PREDICT, artifact, cwd=tmp_path)
    assert done.stdout == "[]\n[[3.0]]\n", done.stderr


def test_the_server_runs_alone_and_says_what_other_commands_need(install, artifact, tmp_path):
    environment = install(SERVER)
    assert run(environment.scripts / "python", "-c", NO_KERAS, cwd=tmp_path).stdout == "[]\n"
    with serving(environment, artifact) as port:
        model = f"http://127.0.0.1:{port}/v2/models/sum"
        (given,) = ask(model)["inputs"]
        tensor = {"name": given["name"], "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
        answer = ask(f"{model}/infer", json.dumps({"inputs": [tensor]}).encode())
    assert answer["outputs"][0]["data"] == [3.0]
    done = run(environment.scripts / "keras-skip", "train", "resnet20_digits", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1) and "keras" in done.stderr, done.stderr


def test_the_server_line_names_what_the_extra_has():
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert {re.match(r"[\w-]+", line)[0] for line in extra["serve"]} <= set(SERVER)
