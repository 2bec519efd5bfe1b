"""Vocabularies of integers and words in ONNX."""

import keras
import numpy as np
import onnxruntime
import pytest
from keras import layers

import export
from tests.export.test_operations import USUAL_OPSETS, answers

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.mark.parametrize("opset", USUAL_OPSETS)
def test_integers_are_looked_up(opset, tmp_path):
    x = np.array([[7, -3], [2**40, 0], [5, 6], [1 - 2**40, 2**40 + 1]])
    vocabulary = [2**40, -3, 7, 1 - 2**40]
    indices = [[3, 2], [1, 0], [0, 0], [4, 0]]
    found = {"int": np.array(indices), "masked": np.array(indices) + 1, "two": np.array(indices) + 1}
    found["masked"][1, 1] = 0
    # Unknown ones are told apart by their remainder.
    found["two"][[1, 2, 2, 3], [1, 0, 1, 1]] = [0, 1, 0, 1]
    options = {"int": {}, "masked": {"mask_token": 0}, "two": {"num_oov_indices": 2}}
    make = {name: layers.IntegerLookup(vocabulary=vocabulary, **about) for name, about in options.items()}
    make |= {m: layers.IntegerLookup(vocabulary=vocabulary, output_mode=m) for m in ("multi_hot", "count")}
    found["multi_hot"] = np.max(np.eye(5)[indices], axis=1)
    found["count"] = np.sum(np.eye(5)[indices], axis=1)
    given = keras.Input((2,), dtype="int64", name="x")
    model = keras.Model({"x": given}, {f"of_{name}": layer(given) for name, layer in make.items()})
    for name, received, _ in answers(model, {"x": x}, tmp_path, opset=opset):
        np.testing.assert_array_equal(received, found[name.removeprefix("of_")], err_msg=name)


def of_text() -> keras.Model:
    """Takes words and numbers, as of a table."""
    city, size = keras.Input((2,), dtype="string", name="city"), keras.Input((1,), name="size")
    make = {"plain": {}, "masked": {"mask_token": ""}, "multi_hot": {"output_mode": "multi_hot"}}
    words = ["Köln", "New York", "東京"]
    found = {name: layers.StringLookup(vocabulary=words, **about)(city) for name, about in make.items()}
    vectors = layers.Flatten()(layers.Embedding(4, 3, name="vectors")(found["plain"]))
    return keras.Model([city, size], {**found, "vectors": vectors * size})


@pytest.mark.parametrize("opset", USUAL_OPSETS)
def test_words_are_looked_up(opset, tmp_path):
    model = of_text()
    batch = {
        "city": np.array([["Köln", "東京"], ["köln", ""], ["New York", "New York"]]),
        "size": np.float32([[1], [2], [3]]),
    }
    plain = np.array([[1, 3], [0, 0], [2, 2]])
    table = model.get_layer("vectors").embeddings.numpy()
    expected = {
        "plain": plain,
        "masked": np.array([[2, 4], [1, 0], [3, 3]]),
        "multi_hot": np.max(np.eye(4)[plain], axis=1),
        "vectors": table[plain].reshape(3, 6) * batch["size"],
    }
    file = export.to_onnx(model, tmp_path / "model.onnx", samples=batch, opset=opset)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for name, values in expected.items():
        np.testing.assert_allclose(session.run([name], batch)[0], values, rtol=1e-6, err_msg=name)


def test_words_need_samples_and_an_artifact_takes_none(tmp_path):
    model, batch = of_text(), {"city": np.array([["Köln", ""]], object), "size": np.float32([[1]])}
    with pytest.raises(ValueError, match="Expected samples= for text inputs. Received: .* for city"):
        export.to_onnx(model, tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="Expected input city of dtype str. Received: dtype int64"):
        export.to_onnx(model, tmp_path / "m.onnx", samples=batch | {"city": np.array([[1, 2]])})
    with pytest.raises(export.ExportError, match="Expected numeric inputs, .* Received: text for city"):
        export.export(model, tmp_path / "a", samples=batch)
    assert list(tmp_path.iterdir()) == []
    assert export.to_onnx(model, tmp_path / "m.onnx", samples=batch).exists()


def test_text_that_a_model_gives_is_refused(tmp_path):
    x = keras.Input((2,), dtype="int64")
    model = keras.Model(x, layers.StringLookup(vocabulary=["a", "b"], invert=True)(x))
    with pytest.raises(export.ExportError, match="Expected a model whose outputs are numbers. Received: .* is text"):
        export.to_onnx(model, tmp_path / "m.onnx")
