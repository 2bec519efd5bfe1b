import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest
from keras import ops

import export
from tests.export.models import conv_net, images, mlp

ROOT = str(Path(export.__file__).parents[1])


pytestmark = pytest.mark.usefixtures("in_this_process")


def test_it_computes_what_keras_does(artifact):
    raw = export.Preprocessing("uint8", scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    expected = np.asarray(ops.softmax(conv_net()(raw.apply(images(9)))))
    predictor = export.load(artifact)
    np.testing.assert_allclose(predictor(images(9)), expected, atol=1e-5)
    for batch_size in (1, 4, 9, 100):
        np.testing.assert_allclose(predictor.predict(images(9), batch_size=batch_size), expected, atol=1e-5)


def test_it_says_in_a_line_what_it_is(artifact):
    about = "device='cpu', precision='float32', inputs=['input'], outputs=['probabilities']"
    assert repr(export.load(artifact)) == f"Predictor({str(artifact)!r}, {about})"


def test_it_names_the_most_probable_class(artifact):
    predictor = export.load(artifact)
    assert predictor.labels == ["ant", "bee", "cat", "dog"]
    probabilities = predictor(images(5))
    named = predictor.classify(images(5))
    assert [label for label, _ in named] == [predictor.labels[i] for i in probabilities.argmax(-1)]
    assert [p for _, p in named] == pytest.approx(probabilities.max(-1).tolist(), abs=1e-6)


def test_without_labels_classes_are_numbered(tmp_path):
    predictor = export.load(export.export(mlp(), tmp_path / "a", activation="softmax", formats="onnx").path)
    assert predictor.labels is None
    assert predictor.classify(np.ones((1, 6), "float32"))[0][0] in {"0", "1", "2"}


def test_without_softmax_there_are_no_classes_to_name(tmp_path):
    predictor = export.load(export.export(mlp(), tmp_path / "a", activation=None, formats="onnx").path)
    with pytest.raises(ValueError, match="one softmax per input. Received: activation=None"):
        predictor.classify(np.ones((1, 6), "float32"))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (images(1)[0], r"shape \(any, 8, 8, 3\).* Received: shape \(8, 8, 3\)"),
        (images(2, size=9), r"Received: shape \(2, 9, 9, 3\)"),
        (images(0), "at least one example"),
        (images(1).astype("float32"), "dtype uint8. Received: dtype float32"),
        ((images(1) - 1.0).tolist(), "dtype uint8. Received: dtype float64"),
        (images(1).astype("int64") + 256, "dtype uint8. Received: dtype int64"),
        (images(1).astype("int16") - 256, "dtype uint8. Received: dtype int16"),
        (5, r"Received: shape \(\)"),
    ],
    ids=["one", "size", "empty", "float", "list of floats", "large", "negative", "number"],
)
def test_input_that_does_not_fit_is_refused(x, message, artifact):
    predictor = export.load(artifact)
    for call in (predictor, predictor.predict, predictor.classify):
        with pytest.raises(ValueError, match=message):
            call(x)


def test_integers_and_floats_of_another_width_are_taken(artifact, tmp_path):
    predictor = export.load(artifact)
    for wide in (images(2).tolist(), images(2).astype("int64"), images(2).astype("uint16")):
        np.testing.assert_array_equal(predictor(wide), predictor(images(2)))
    rows = np.random.default_rng(0).normal(size=(5, 6))
    rows_too = export.load(export.export(mlp(), tmp_path / "rows", samples=rows, formats="onnx").path)
    np.testing.assert_array_equal(rows_too(rows), rows_too(rows.astype("float32")))
    np.testing.assert_array_equal(rows_too(rows.tolist()), rows_too(rows.astype("float32")))
    with pytest.raises(ValueError, match="dtype float32. Received: dtype float64"):
        rows_too(np.full((1, 6), 1e300))


def test_tokens_may_be_wide_integers(tmp_path):
    tokens = keras.Input((4,), dtype="int32")
    model = keras.Model(tokens, keras.layers.Dense(2)(keras.layers.Embedding(7, 3)(tokens)))
    samples = np.arange(8).reshape(2, 4) % 7
    predictor = export.load(export.export(model, tmp_path / "tokens", samples=samples, formats="onnx").path)
    np.testing.assert_allclose(predictor(samples), model(samples), atol=1e-6)


def test_a_batch_size_below_one_is_refused(artifact):
    with pytest.raises(ValueError, match="batch_size=0"):
        export.load(artifact).predict(images(1), batch_size=0)


def test_a_spoiled_artifact_is_not_loaded(spoiled):
    (spoiled / "model.onnx").write_bytes((spoiled / "model.onnx").read_bytes()[:-1])
    with pytest.raises(export.VerificationError, match="model.onnx as it was exported"):
        export.load(spoiled)
    with pytest.raises(FileNotFoundError, match="Expected an artifact"):
        export.load(spoiled / "saved_model")


def test_a_device_that_is_not_there_is_an_error_and_never_a_fallback(artifact):
    with pytest.raises(ValueError, match="device='tpu'"):
        export.load(artifact, device="tpu")
    try:
        predictor = export.load(artifact, device="cuda")
    except (RuntimeError, ValueError) as error:
        assert "CUDAExecutionProvider" in str(error)
    else:
        assert "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        np.testing.assert_allclose(predictor(images(3)), export.load(artifact)(images(3)), atol=1e-5)


def test_it_predicts_where_keras_tensorflow_and_the_converter_are_not_installed(artifact):
    code = f"""
import sys
for name in ("keras", "tensorflow", "keras_skip", "tf2onnx", "onnx", "zoo"):
    sys.modules[name] = None
sys.path.insert(0, {ROOT!r})
import export, numpy as np
assert "onnxruntime" not in sys.modules and "export.artifact" not in sys.modules
print(export.load({str(artifact)!r}).predict(np.zeros((3, 8, 8, 3), "uint8")).shape)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(3, 4)\n" and done.stderr == ""


def test_importing_the_package_imports_nothing_heavy():
    code = f"""
import sys
sys.path.insert(0, {ROOT!r})
import export
assert set(export.__all__) <= set(dir(export))
heavy = {{"keras", "tensorflow", "numpy", "onnx", "onnxruntime", "tf2onnx", "zoo", "keras_skip"}} & set(sys.modules)
print(*heavy)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_every_public_name_is_there_and_no_other():
    assert all(getattr(export, name).__name__ == name for name in export.__all__)
    with pytest.raises(AttributeError, match="exprot"):
        _ = export.exprot
