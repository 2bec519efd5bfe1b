"""Networks whose weights are large: matrices that stay out of the converter, memory, and more than 2 GB."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import onnx
import pytest
from keras import layers, ops

import export
from export.convert import translation
from tests.export.models import randomise

pytestmark = pytest.mark.usefixtures("in_this_process")

ROOT = Path(__file__).parents[2]
# Peak memory above what the process had before. What getrusage counts begins with the peak of the process that made it.
STATUS = Path("/proc/self/status")
EXPORT = f"""
import json, re, sys
from pathlib import Path
import keras
import export
from keras import layers

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("{STATUS}").read_text())[1])

units, precision, path = int(sys.argv[1]), *sys.argv[2:]
matrix = layers.Dense(units, kernel_initializer="zeros")
model = keras.Sequential([keras.Input((16,)), layers.Dense(units), matrix, layers.Dense(4)])
for start in range(0, units, 500):
    matrix.kernel[start, start // 2].assign(1.0 + start)
before = peak()
export.export(model, path, formats="onnx", precision=precision)
print(json.dumps(dict(weights=4 * model.count_params(), taken=peak() - before)))
"""
LARGE = pytest.mark.skipif(
    os.environ.get("KERAS_SKIP_LARGE") != "1",
    reason="takes 16 GB of memory, 5 GB of disk and some minutes; KERAS_SKIP_LARGE=1 runs it",
)


class Twice(layers.Layer):
    """A matrix that is used as it is, and transposed."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 600), initializer="glorot_uniform", name="kernel")

    def call(self, x):
        return ops.matmul(ops.tanh(ops.matmul(x, self.kernel)), ops.transpose(self.kernel))


def dense():
    return keras.Sequential([keras.Input((600,)), layers.Dense(600, "tanh"), layers.Dense(600), layers.Dense(3)])


def flattened():
    return keras.Sequential(
        [keras.Input((16, 16, 3)), layers.Conv2D(8, 3), layers.Flatten(), layers.Dense(200), layers.Dense(3)]
    )


def embedding():
    inputs = keras.Input((5,), dtype="int32")
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(layers.Embedding(40_000, 10)(inputs))))


def recurrent():
    return keras.Sequential([keras.Input((4, 300)), layers.LSTM(300), layers.Dense(3)])


def used_twice():
    return keras.Sequential([keras.Input((600,)), Twice(), layers.Dense(3)])


@pytest.mark.parametrize(
    ("make", "apart"), [(dense, 2), (flattened, 1), (embedding, 1), (recurrent, None), (used_twice, None)]
)
def test_large_matrices_stay_out_of_the_converter_and_come_back(make, apart, tmp_path, monkeypatch):
    seen = []
    matrices = translation._find_matrices
    monkeypatch.setattr(translation, "_find_matrices", lambda *given: seen.extend(found := matrices(*given)) or found)
    made = export.export(randomise(make()), tmp_path / "a", formats="onnx")
    assert apart is None or len(seen) == apart
    graph = onnx.load(made.onnx).graph
    assert len(graph.input) == 1
    assert len([initializer for initializer in graph.initializer if len(initializer.raw_data) > 2**20]) >= len(seen)


@pytest.mark.skipif(not STATUS.exists(), reason="memory is counted as Linux does")
@pytest.mark.parametrize(
    ("units", "precision", "beside"),
    [
        (5_000, "fp32", False),
        pytest.param(23_500, "fp32", True, marks=LARGE),
        pytest.param(23_500, "fp16", False, marks=LARGE),
    ],
)
def test_exporting_takes_a_few_times_the_memory_of_the_weights(units, precision, beside, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", EXPORT, str(units), precision, str(tmp_path / "a")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["weights"] < told["taken"] <= 8 * told["weights"]
    assert (tmp_path / "a" / "model.onnx.data").exists() == beside
