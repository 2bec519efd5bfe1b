import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from keras import layers, ops

import export
from export.proof.logits import match_layout
from tests.export.models import (
    bfloat16_inside,
    conv_net,
    images,
    mlp,
    randomise,
    subclassed,
    with_function,
)
from zoo.training.learner import precision

pytestmark = pytest.mark.usefixtures("in_this_process")


def run(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": x})[0]


def relative_difference(model: keras.Model, path: Path, x: np.ndarray) -> float:
    expected = np.asarray(model(x, training=False))
    received = run(path, x)
    assert received.shape == expected.shape
    return float(np.max(np.abs(received - expected)) / np.max(np.abs(expected)))


@pytest.mark.parametrize("make", [conv_net, mlp, subclassed])
def test_every_kind_of_model_computes_the_same_on_any_batch(make, tmp_path):
    model = make()
    path = export.to_onnx(model, tmp_path / "model.onnx")
    example = (8, 8, 3) if make is conv_net else (6,)
    for batch in (1, 5):
        x = np.random.default_rng(batch).normal(size=(batch, *example)).astype("float32")
        assert relative_difference(model, path, x) <= 1e-5
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_dynamic_sizes_stay_dynamic(tmp_path):
    model = conv_net(size=None)
    path = export.to_onnx(model, tmp_path / "model.onnx")
    for height, width in ((8, 8), (17, 12)):
        x = np.random.default_rng(0).normal(size=(2, height, width, 3)).astype("float32")
        assert relative_difference(model, path, x) <= 1e-5


def test_there_may_be_as_many_classes_as_rows_and_columns(tmp_path):
    inputs = keras.Input((4, 4, 3))
    outputs = layers.Softmax()(layers.Conv2D(4, 3, padding="same")(layers.Conv2D(2, 3, padding="same")(inputs)))
    assert export.to_onnx(randomise(keras.Model(inputs, outputs)), tmp_path / "model.onnx").is_file()


def test_logits_are_compared_in_the_nearest_layout():
    expected = np.random.default_rng(0).normal(size=(2, 4, 4, 4)).astype("float32")
    expected[0, 1, 2, 3] = np.nan
    for given in (expected, np.moveaxis(expected, -1, 1), np.moveaxis(expected, 1, -1)):
        np.testing.assert_array_equal(match_layout(given.astype("float64"), expected), expected)
    assert np.isnan(match_layout(np.full_like(expected, np.nan), expected)).all()
    assert match_layout(expected[:, :2], expected).shape == (2, 2, 4, 4)


def test_samples_by_name_are_preprocessed_too(tmp_path):
    raw = {"dtype": "uint8", "scale": 1 / 255}
    path = export.to_onnx(conv_net(), tmp_path / "m.onnx", preprocessing=raw, samples={"input": images(2)})
    assert run(path, images(3)).shape == (3, 4)


def test_preprocessing_and_activation_become_part_of_the_graph(tmp_path):
    model, raw = conv_net(), export.Preprocessing("uint8", scale=1 / 255, mean=(0.1, 0.2, 0.3), std=0.5)
    path = export.to_onnx(model, tmp_path / "model.onnx", preprocessing=raw, activation="softmax")
    expected = np.asarray(ops.softmax(model(raw.apply(images(3)))))
    np.testing.assert_allclose(run(path, images(3)), expected, atol=1e-6)


@pytest.mark.parametrize("opset", [13, 17, 18])
def test_the_opset_is_the_one_asked_for(opset, tmp_path):
    model = conv_net()
    path = export.to_onnx(model, tmp_path / "model.onnx", opset=opset)
    assert {o.domain: o.version for o in onnx.load(path).opset_import}[""] == opset
    assert relative_difference(model, path, np.ones((2, 8, 8, 3), "float32")) <= 1e-5


def test_at_the_default_opset_pooling_is_one_operation_and_normalisation_is_folded(tmp_path):
    graph = onnx.load(export.to_onnx(conv_net(), tmp_path / "model.onnx")).graph
    operations = [node.op_type for node in graph.node]
    assert operations.count("GlobalAveragePool") == 1
    assert operations.count("Conv") == 1
    assert not {"BatchNormalization", "Mul", "ReduceMean", "Dropout"} & set(operations)


def test_an_opset_out_of_range_is_refused(tmp_path):
    with pytest.raises(ValueError, match="between 13 and 24. Received: opset=25"):
        export.to_onnx(mlp(), tmp_path / "model.onnx", opset=25)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("function", "operation"),
    [
        (ops.erfinv, "Erfinv"),
        (lambda x: ops.qr(x)[0], "Qr"),
        (lambda x: tf.math.real(tf.signal.fft3d(tf.cast(x, "complex64"))), "FFT3D"),
        (lambda x: tf.ensure_shape(tf.numpy_function(np.sin, [x], "float32"), (None, 4, 4)), "PyFunc"),
    ],
    ids=["erfinv", "qr", "fft3d", "python"],
)
def test_an_operation_without_a_conversion_is_named_and_leaves_no_file(function, operation, tmp_path):
    with pytest.raises(export.ExportError, match=rf"Received: .*{operation} \(.*strange"):
        export.to_onnx(with_function(function), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_every_operation_without_a_conversion_is_named(tmp_path):
    model = with_function(lambda x: ops.erfinv(x) + ops.qr(x)[0])
    with pytest.raises(export.ExportError, match="Erfinv .*Qr "):
        export.to_onnx(model, tmp_path / "model.onnx")


def test_a_file_that_onnxruntime_cannot_run_is_an_error(tmp_path):
    # onnx's checker accepts what onnxruntime has no kernel for.
    inputs = keras.Input((6, 6, 3), dtype="float64")
    model = keras.Model(inputs, layers.Conv2D(4, 3, dtype="float64")(inputs))
    with pytest.raises(export.ExportError, match="onnxruntime cannot open .*an implementation for Conv"):
        export.to_onnx(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_convolutions_that_keras_compiles_by_themselves_convert(tmp_path):
    inputs = keras.Input((6, 6, 4))
    model = randomise(keras.Model(inputs, layers.Conv2D(8, 3, groups=2)(inputs)))
    path = export.to_onnx(model, tmp_path / "model.onnx")
    assert relative_difference(model, path, np.ones((3, 6, 6, 4), "float32")) <= 1e-5


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("kind", ["functional", "nested"])
def test_a_mixed_precision_model_is_written_in_float32(policy, kind, tmp_path):
    with precision(policy):
        inner = conv_net()
        model = inner if kind == "functional" else keras.Sequential([keras.Input((8, 8, 3)), inner, layers.Dense(2)])
    path = export.to_onnx(model, tmp_path / "model.onnx")
    types = {i.data_type for i in onnx.load(path).graph.initializer}
    assert not types & {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
    received = run(path, x)
    assert received.dtype == "float32"
    half = np.asarray(ops.cast(model(x), "float32"))
    assert 0 < np.max(np.abs(received - half)) <= 0.05 * np.max(np.abs(half))
    assert model.dtype_policy.name == policy or kind == "nested"


def test_bfloat16_inside_a_layer_is_an_error_that_names_it(tmp_path):
    with pytest.raises(export.ExportError, match="Expected a model without bfloat16.*strange"):
        export.to_onnx(with_function(bfloat16_inside), tmp_path / "model.onnx")


def test_a_file_already_there_is_kept_unless_it_may_be_overwritten(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="model.onnx exists. Choose another path, or overwrite=True"):
        export.to_onnx(mlp(), path)
    with pytest.raises(export.ExportError):
        export.to_onnx(with_function(ops.erfinv), path, overwrite=True)
    assert path.read_bytes() == b"precious"
    export.to_onnx(mlp(), path, overwrite=True)
    onnx.checker.check_model(str(path), full_check=True)
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_what_cannot_be_a_graph_is_refused(tmp_path):
    a, b = keras.Input((2,)), keras.Input((2,))
    with pytest.raises(export.ExportError, match="never seen an input"):
        export.to_onnx(keras.Sequential([layers.Dense(2)]), tmp_path / "model.onnx")
    with pytest.raises(export.ExportError, match="Expected a keras.Model. Received: Dense"):
        export.to_onnx(layers.Dense(2), tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="activation='relu'"):
        export.to_onnx(mlp(), tmp_path / "model.onnx", activation="relu")
    with pytest.raises(ValueError, match="a model with one input for preprocessing. Received: .* 2 inputs"):
        export.to_onnx(keras.Model([a, b], a + b), tmp_path / "model.onnx", preprocessing={"scale": 0.5})
    with pytest.raises(ValueError, match="a model with one output for an activation. Received: .* 2 outputs"):
        export.to_onnx(keras.Model(a, [a + 1, a + 2]), tmp_path / "model.onnx", activation="softmax")
    with pytest.raises(ValueError, match="layout='chwn'"):
        export.to_onnx(conv_net(), tmp_path / "model.onnx", layout="chwn")
    with pytest.raises(ValueError, match="model of images for a layout"):
        export.to_onnx(mlp(), tmp_path / "model.onnx", layout="nchw")
    assert list(tmp_path.iterdir()) == []


def test_an_engine_for_another_backend_is_refused(tmp_path):
    for name in ("jax2onnx", "torch", "onnx"):
        with pytest.raises(ValueError, match=rf"Expected engine .*on tensorflow. Received: engine='{name}'"):
            export.to_onnx(mlp(), tmp_path / "model.onnx", engine=name)
        with pytest.raises(ValueError, match=rf"Expected engine .*on tensorflow. Received: engine='{name}'"):
            export.export(mlp(), tmp_path / "artifact", engine=name)
    assert list(tmp_path.iterdir()) == []


def test_converting_prints_nothing_of_its_own(tmp_path):
    code = f"""
import sys; sys.path.insert(0, {str(Path(export.__file__).parents[1])!r})
import os; os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, export
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
print("START", file=sys.stderr, flush=True)
export.export(model, {str(tmp_path / "artifact")!r})
export.verify({str(tmp_path / "artifact")!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    said = done.stderr.split("START")[1].splitlines()
    assert [line for line in said if "tf2onnx" in line or "onnxruntime" in line or "Saved artifact" in line] == []


def test_a_file_may_have_the_longest_of_names(tmp_path):
    path = export.to_onnx(mlp(), tmp_path / f"{'a' * 250}.onnx")
    assert path.stat().st_size > 0
