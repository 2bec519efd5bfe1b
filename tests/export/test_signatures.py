"""Models of every shape: names, several inputs and outputs, masks, layouts, models that were never called."""

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from keras import layers, ops

import export
from export.model.signature import flatten_samples, read_signature
from export.storage.manifest import read_manifest
from tests.export.models import conv_net, mlp, randomise

pytestmark = pytest.mark.usefixtures("in_this_process")


def two_towers() -> keras.Model:
    image = keras.Input((None, None, 3), name="image")
    about = keras.Input((4,), name="about")
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(5, 3, padding="same", activation="relu", name="map")(image))
    x = layers.Concatenate()([x, layers.Dense(3)(about)])
    return randomise(keras.Model([image, about], [layers.Dense(2, name="kind")(x), layers.Dense(1, name="age")(x)]))


def nested() -> keras.Model:
    a, b, c = keras.Input((3,), name="a"), keras.Input((4,), name="left"), keras.Input((4,), name="right")
    x = layers.Concatenate()([a, b, c])
    outputs = {"score": layers.Dense(2)(x), "parts": [layers.Dense(3, name="first")(x), layers.Dense(3)(a)]}
    return randomise(keras.Model({"a": a, "pair": [b, c]}, outputs))


@keras.saving.register_keras_serializable("tests.export")
class TakesTwo(keras.Model):
    """A subclassed model with two arguments and no build of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.left, self.right = layers.Dense(3), layers.Dense(3)

    def call(self, a, b):
        return {"sum": self.left(a) + self.right(b)}


def dimensions(path):
    graph = onnx.load(path).graph
    return {
        value.name: [dim.dim_param or dim.dim_value or None for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def test_several_inputs_and_outputs_go_by_the_models_names(tmp_path):
    model = two_towers()
    made = export.export(model, tmp_path / "a", labels=None)
    assert [i["name"] for i in made.metadata["inputs"]] == ["image", "about"]
    assert [o["name"] for o in made.metadata["outputs"]] == ["kind", "age"]
    assert dimensions(made.onnx) == {
        "image": ["batch", "height", "width", 3],
        "about": ["batch", 4],
        "kind": ["batch", 2],
        "age": ["batch", 1],
    }
    x = {"image": normal(5, 9, 7, 3), "about": normal(5, 4)}
    expected = model([x["image"], x["about"]])
    predictor = export.load(made.path)
    for received in (predictor(x), predictor.predict(x, batch_size=2)):
        assert list(received) == ["kind", "age"]
        np.testing.assert_allclose(received["kind"], expected[0], atol=1e-5)
        np.testing.assert_allclose(received["age"], expected[1], atol=1e-5)
    served = tf.saved_model.load(str(made.saved_model)).signatures["serving_default"](**x)
    np.testing.assert_allclose(served["age"], expected[1], atol=1e-5)
    assert export.verify(made.path)["max_abs_diff"] <= 1e-4


def test_samples_go_by_names_and_never_by_their_order(tmp_path):
    one, two = keras.Input((3,), name="wide"), keras.Input((3,), name="1deep")
    signature = read_signature(keras.Model([one, two], one - two), None, None)
    assert [i.name for i in signature.inputs] == ["wide", "x1deep"]
    x = {"wide": np.zeros((1, 3)), "1deep": np.ones((1, 3))}
    for given in (x, {"x1deep": x["1deep"], "wide": x["wide"]}, list(x.values())):
        found = flatten_samples(signature, given)
        assert [(name, array.max()) for name, array in found.items()] == [("wide", 0), ("x1deep", 1)]
    with pytest.raises(ValueError, match="Expected samples of wide, x1deep. Received: wide_x, deep"):
        flatten_samples(signature, {"wide_x": x["wide"], "deep": x["1deep"]})


def test_nested_structures_are_flattened_by_their_keys(tmp_path):
    model = nested()
    samples = {"a": normal(6, 3), "pair": [normal(6, 4), normal(6, 4, seed=1)]}
    made = export.export(model, tmp_path / "a", samples=samples)
    assert [i["name"] for i in made.metadata["inputs"]] == ["a", "pair_0", "pair_1"]
    assert sorted(o["name"] for o in made.metadata["outputs"]) == ["parts_0", "parts_1", "score"]
    flat = {"a": samples["a"], "pair_0": samples["pair"][0], "pair_1": samples["pair"][1]}
    expected, received = model(samples), export.load(made.path)(flat)
    np.testing.assert_allclose(received["score"], expected["score"], atol=1e-5)
    np.testing.assert_allclose(received["parts_1"], expected["parts"][1], atol=1e-5)


def test_one_output_of_several_that_is_wrong_is_named(tmp_path):
    inputs = keras.Input((3,))
    wrong = layers.Identity(name="wrong")
    wrong.call = lambda x: x + 0.5 if tf.executing_eagerly() else x
    model = keras.Model(inputs, {"right": layers.Dense(2)(inputs), "wrong": wrong(inputs)})
    with pytest.raises(export.ParityError, match="SavedModel against Keras on random, batch 1, output wrong"):
        export.export(model, tmp_path / "a")


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (normal(2, 8, 8, 3), "a dict with the inputs image, about. Received: ndarray"),
        ({"image": normal(2, 8, 8, 3)}, "inputs image, about. Received: image"),
        ({"image": normal(2, 8, 8, 3), "about": normal(3, 4)}, "the same number of examples of each input"),
        ({"image": normal(2, 8, 8, 3), "about": normal(2, 5)}, r"input about of shape \(any, 4\)"),
    ],
    ids=["array", "missing", "batches", "shape"],
)
def test_inputs_that_do_not_fit_together_are_refused(x, message, towers):
    with pytest.raises(ValueError, match=message):
        towers.predict(x)


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    return export.load(export.export(two_towers(), tmp_path_factory.mktemp("towers") / "a", formats="onnx").path)


def test_a_model_without_names_has_plain_ones(tmp_path):
    for model in (conv_net(), keras.Sequential([keras.Input((6,)), layers.Dense(2)])):
        assert set(dimensions(export.to_onnx(model, tmp_path / "m.onnx", overwrite=True))) == {"input", "output"}
    named = keras.Sequential([keras.Input((6,), name="pixels"), layers.Dense(2, name="logits")])
    assert list(dimensions(export.to_onnx(named, tmp_path / "n.onnx"))) == ["pixels", "logits"]
    with_activation = export.to_onnx(named, tmp_path / "p.onnx", activation="softmax")
    assert list(dimensions(with_activation)) == ["pixels", "probabilities"]


def test_names_that_onnx_and_tensorflow_do_not_accept_are_made_fit(tmp_path):
    a, b = keras.Input((2,), name="my input"), keras.Input((2,), name="my.input")
    model = keras.Model([a, b], {"a+b": a + b, "my input": layers.Dense(1)(a)})
    made = export.export(model, tmp_path / "a")
    assert list(dimensions(made.onnx)) == ["my_input", "my_input_1", "a_b", "my_input_output"]


def test_dynamic_sizes_that_need_not_be_equal_have_different_names(tmp_path):
    a, b = keras.Input((None, 3), name="a"), keras.Input((None, 3), name="b")
    pool = layers.GlobalAveragePooling1D()
    path = export.to_onnx(keras.Model([a, b], layers.Concatenate()([pool(a), pool(b)])), tmp_path / "m.onnx")
    shapes = dimensions(path)
    assert shapes["a"] == ["batch", "a_length", 3] and shapes["b"] == ["batch", "b_length", 3]


@pytest.mark.parametrize("make", [conv_net, two_towers], ids=["one", "two"])
def test_either_layout_computes_the_same(make, tmp_path):
    model = make()
    made = export.export(model, tmp_path / "a", layout="nchw", formats="onnx")
    assert made.metadata["layout"] == "nchw"
    assert made.metadata["inputs"][0]["shape"][1] == 3
    graph = onnx.load(made.onnx).graph
    assert "Transpose" not in {node.op_type for node in graph.node}
    x = normal(3, 8, 8, 3)
    moved = np.moveaxis(x, -1, 1)
    if make is conv_net:
        np.testing.assert_allclose(export.load(made.path)(moved), model(x), atol=1e-5)
    else:
        about = normal(3, 4)
        received = export.load(made.path)({"image": moved, "about": about})
        np.testing.assert_allclose(received["kind"], model([x, about])[0], atol=1e-5)


def test_images_that_come_out_have_the_layout_too(tmp_path):
    inputs = keras.Input((8, 8, 3))
    model = randomise(keras.Model(inputs, layers.Conv2D(5, 3, activation="relu")(inputs)))
    made = export.export(model, tmp_path / "a", layout="nchw", formats="onnx")
    assert made.metadata["outputs"][0]["shape"] == [None, 5, 6, 6]
    assert [n.op_type for n in onnx.load(made.onnx).graph.node] == ["Conv", "Relu"]


def test_one_form_alone(small_artifact, tmp_path):
    assert not (small_artifact / "saved_model").exists() and read_manifest(small_artifact)["formats"] == ["onnx"]
    only_saved = export.export(mlp(), tmp_path / "saved", formats=["saved_model"])
    assert not only_saved.onnx.exists()
    assert {c["candidate"] for c in export.verify(only_saved.path)["comparisons"]} == {"SavedModel"}
    assert export.verify(small_artifact)["max_abs_diff"] <= 1e-4
    with pytest.raises(export.VerificationError, match="with an ONNX file"):
        export.load(only_saved.path)
    with pytest.raises(ValueError, match="formats=.'onnx', 'tflite'."):
        export.export(conv_net(), tmp_path / "none", formats=["onnx", "tflite"])


def test_a_model_that_was_never_called_is_built_on_samples(tmp_path):
    sequential = keras.Sequential([layers.Dense(4, "relu"), layers.Dense(2)])
    made = export.export(sequential, tmp_path / "a", samples=normal(5, 3), formats="onnx")
    assert made.metadata["inputs"] == [{"name": "input", "shape": [None, 3], "dtype": "float32"}]
    a, b = normal(5, 3), normal(5, 2)
    model = TakesTwo()
    made = export.export(model, tmp_path / "b", samples={"a": a, "b": b}, formats="onnx")
    np.testing.assert_allclose(export.load(made.path)({"a": a, "b": b}), model(a, b)["sum"], atol=1e-5)
    assert made.metadata["outputs"][0]["name"] == "sum"


def test_a_model_that_does_not_say_what_it_takes_needs_samples(tmp_path):
    model = TakesTwo()
    model(normal(2, 3), normal(2, 2))
    with pytest.raises(export.ExportError, match="Expected a model that runs on|or samples of them"):
        export.export(model, tmp_path / "a")


def test_samples_that_a_model_does_not_take_are_a_sentence(tmp_path):
    sentence = (
        r"Expected samples= that the model takes. Received: shape \(5, 3\), \(5, 4, 2\), on which takes_two\w* raised "
    )
    why = r"InvalidArgumentError: [^\n\x1b]*Incompatible shapes: \[2,3\] vs. \[2,4,3\]$"
    with pytest.raises(export.ExportError, match=sentence + why):
        export.export(TakesTwo(), tmp_path / "a", samples={"a": normal(5, 3), "b": normal(5, 4, 2)})
    assert list(tmp_path.iterdir()) == []


def masked_lstm(inputs):
    return layers.LSTM(6)(layers.Masking(0.0)(inputs))


def masked_gru(inputs):
    return layers.GRU(6, return_sequences=True)(layers.Masking(0.0)(inputs))


def attention(inputs):
    x = layers.Masking(0.0)(inputs)
    return layers.MultiHeadAttention(2, 4)(x, x)


def bidirectional(inputs):
    return layers.Bidirectional(layers.LSTM(4))(inputs)


def test_sequences_of_any_length_and_their_masks(tmp_path):
    inputs = keras.Input((None, 3))
    functions = masked_lstm, masked_gru, attention, bidirectional
    outputs = {function.__name__: layers.Dense(2)(function(inputs)) for function in functions}
    model = randomise(keras.Model(inputs, outputs))
    x = normal(12, 7, 3)
    x[::2, 4:] = 0
    made = export.export(model, tmp_path / "a", samples=x)  # the SavedModel has loops too
    assert dimensions(made.onnx)["input"] == ["batch", "length", 3]
    expected, predictor = model(x), export.load(made.path)
    received, unmasked = predictor(x), predictor(np.where(x == 0, 0.5, x).astype("float32"))
    for name in outputs:
        np.testing.assert_allclose(received[name], expected[name], atol=1e-5)
        assert np.max(np.abs(received[name] - unmasked[name])) > 1e-3


def test_tokens_are_drawn_from_the_vocabulary(tmp_path):
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = layers.LSTM(5)(layers.Embedding(10, 4, mask_zero=True)(tokens))
    made = export.export(randomise(keras.Model(tokens, layers.Dense(3)(x))), tmp_path / "a", formats="onnx")
    assert dimensions(made.onnx)["tokens"] == ["batch", "length"]
    with np.load(made.path / "samples.npz") as arrays:
        drawn = np.concatenate([arrays[k].ravel() for k in arrays.files if "/input/" in k])
    assert set(drawn) == set(range(10))


def test_booleans_are_inputs_and_outputs(tmp_path):
    x, keep = keras.Input((4,), name="x"), keras.Input((4,), dtype="bool", name="keep")
    model = keras.Model([x, keep], {"kept": ops.where(keep, x, 0.0), "positive": ops.logical_and(keep, x > 0)})
    made = export.export(model, tmp_path / "a")
    assert [o["dtype"] for o in made.metadata["outputs"]] == ["float32", "bool"]
    given = export.load(made.path)({"x": normal(2, 4), "keep": np.ones((2, 4), bool)})
    np.testing.assert_array_equal(given["positive"], normal(2, 4) > 0)


def test_a_plain_keras_file_gives_what_it_gives(tmp_path):
    inputs = keras.Input((6,))
    model = randomise(keras.Model(inputs, layers.Dense(3, activation="softmax")(inputs)))
    model.save(tmp_path / "m.keras")
    made = export.export(keras.saving.load_model(tmp_path / "m.keras"), tmp_path / "a", formats="onnx")
    assert (made.metadata["preprocessing"], made.metadata["labels"], made.metadata["activation"]) == (None, None, None)
    session = onnxruntime.InferenceSession(made.onnx, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"input": normal(4, 6)})[0], model(normal(4, 6)), atol=1e-6)
