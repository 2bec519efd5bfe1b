"""One network with every public layer: through a file into another process, through ONNX into another runtime."""

import os

import keras
import numpy as np
import onnxruntime
import pytest

import export
import keras_skip as ks
from tests.layers.table import CASES
from tests.processes import run_code

IN_A_NEW_PROCESS = """
import sys
import keras, numpy as np
import keras_skip
model = keras.saving.load_model(sys.argv[1])
np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0))
"""


def every_layer():
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", name="stem")(inputs)
    x = ks.BatchNormalization(name="stem_norm")(x)
    x = ks.ResidualBlock(8, dropout=0.1)(x)
    x = ks.ResidualBlock(12, strides=2, shortcut="pad")(x)
    x = ks.BottleneckBlock(16, padding="symmetric", strides=2)(x)
    x = ks.PreActivationBlock(16, survival_prob=0.9)(x)
    x = ks.PreActivationBottleneckBlock(16)(x)
    x = ks.WideBlock(20, spatial_dropout=True)(x)
    x = ks.HighwayBlock(kernel_size=3)(x)
    x = ks.StochasticDepthBlock(20, survival_prob=ks.linear_survival(0.5, 2)[0])(x)
    x = ks.DenseBlock(2, 4)(x)
    x = ks.TransitionBlock()(x)
    x = keras.layers.Add(name="sum")([x, ks.StochasticDepth(keras.layers.Conv2D(14, 3, padding="same"), 0.8)(x)])
    for norm, gate in (("pre", "highway"), ("peri", "review"), ("post", "laurel")):
        x = ks.Residual(keras.layers.Conv2D(14, 3, padding="same"), norm, gate=gate)(x)
    x = ks.DepthAverage()([x, keras.layers.Conv2D(14, 1)(x)])
    x = ks.DepthAttention()([x, keras.layers.Conv2D(14, 1)(x)])
    x = ks.HyperConnection(keras.layers.Conv2D(14, 3, padding="same"), norm="pre")(ks.ExpandStreams()(x))
    x = ks.ReduceStreams()(x)
    named = {type(layer) for layer in keras.Model(inputs, x).layers}
    for case in CASES:
        if case.rank == 2 and case.public not in named:  # a new layer comes in by its row of the table
            x = case.make()(x)
            named.add(case.public)
    x = keras.layers.Reshape((-1, x.shape[-1]), name="rows")(x)
    x = ks.RecurrentHighway(14, dropout=0.1, return_sequences=True)(x)
    x = keras.layers.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(inputs, ks.HighwayBlock(carry="coupled")(x), name="every_layer")


@pytest.fixture(scope="module")
def trained():
    """Two steps of training, so that no statistic or gate is where it started."""
    model = every_layer()
    rng = np.random.default_rng(0)
    model.compile(optimizer=keras.optimizers.SGD(0.01), loss="mse", run_eagerly=True)
    for _ in range(2):
        model.train_on_batch(rng.normal(size=(8, 32, 32, 3)), rng.normal(size=(8, *model.output_shape[1:])))
    model.compile(jit_compile=False)
    return model


def test_every_public_layer_is_in_the_network(trained):
    named = {type(layer).__name__ for layer in trained._flatten_layers()}
    assert named >= {name for name in ks.__all__ if isinstance(getattr(ks, name), type)}


def test_saved_and_loaded_in_a_new_process_it_computes_exactly_the_same(trained, tmp_path):
    x = np.random.default_rng(1).normal(size=(3, 32, 32, 3)).astype("float32")
    trained.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", x)
    files = [tmp_path / name for name in ("model.keras", "x.npy", "y.npy")]
    # Without oneDNN, sums depend on the number of threads among which TensorFlow divides them.
    threads = {name: value for name, value in os.environ.items() if name.startswith("TF_NUM_")}
    run_code(IN_A_NEW_PROCESS, *files, cwd=tmp_path, **threads)
    assert np.abs(np.load(tmp_path / "y.npy") - trained.predict(x, verbose=0)).max() == 0.0


def test_as_onnx_it_computes_the_same(trained, tmp_path):
    path = export.to_onnx(trained, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (1, 5):
        x = np.random.default_rng(batch).normal(size=(batch, 32, 32, 3)).astype("float32")
        expected = trained.predict(x, verbose=0)
        (received,) = session.run(None, {session.get_inputs()[0].name: x})
        assert np.abs(received - expected).max() <= 1e-4 * np.abs(expected).max()
