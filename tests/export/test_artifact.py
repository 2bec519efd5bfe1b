import json

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from keras import layers, ops

import export
import keras_skip
from export.precision import fp16
from export.storage import onnx_files
from tests.export.models import Function, conv_net, images, mlp, subclassed, with_function
from zoo.training.learner import precision

pytestmark = pytest.mark.usefixtures("in_this_process")

FILES = {"artifact.json", "parity.json", "samples.npz", "model.onnx", "saved_model"}


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_an_artifact_is_a_folder_that_says_everything_about_itself(artifact):
    assert {p.name for p in artifact.iterdir()} == FILES
    assert [p.name for p in artifact.parent.iterdir()] == ["classifier"]
    about = json.loads((artifact / "artifact.json").read_text())
    assert about["name"] == "classifier"
    assert about["labels"] == ["ant", "bee", "cat", "dog"]
    assert about["inputs"] == [{"name": "input", "shape": [None, 8, 8, 3], "dtype": "uint8"}]
    assert about["outputs"] == [{"name": "probabilities", "shape": [None, 4], "dtype": "float32"}]
    assert about["activation"] == "softmax"
    raw = export.Preprocessing.from_dict(about["preprocessing"])
    assert raw == export.Preprocessing("uint8", scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    model = onnx.load(artifact / "model.onnx")
    assert about["opset"]["ai.onnx"] == 17 and about["ir_version"] == model.ir_version
    assert about["producer"] == f"keras-skip {keras_skip.__version__}"
    assert about["versions"]["keras"] == keras.__version__ and about["versions"]["tensorflow"] == tf.__version__
    assert set(about["files"]) == set(contents(artifact)) - {"artifact.json"}


def test_an_artifact_says_in_a_line_what_it_is(artifact):
    metadata, parity = (json.loads((artifact / name).read_text()) for name in ("artifact.json", "parity.json"))
    shown = repr(export.Artifact(artifact, metadata, parity | {"max_abs_diff": 1.5432e-7}))
    about = "formats=['saved_model', 'onnx'], precision='fp32', max_abs_diff=1.5e-07"
    assert shown == f"Artifact({str(artifact)!r}, {about})"
    assert repr(export.Artifact(artifact, {}, {})).endswith("formats=None, precision=None, max_abs_diff=nan)")


def test_parity_compares_every_form_on_random_and_real_inputs(artifact):
    parity = json.loads((artifact / "parity.json").read_text())
    compared = {c["candidate"]: c for c in parity["comparisons"] if c["status"] == "compared"}
    assert {"SavedModel", "onnxruntime, not optimised", "onnxruntime, optimised"} <= set(compared)
    absent = [c for c in parity["comparisons"] if c["status"] == "not available"]
    assert all(c["reason"] for c in absent)
    assert ("onnxruntime, CUDA" in compared) != (absent != [])
    for record in compared.values():
        assert record["reference"] == "Keras"
        assert {1, 2, 7, 32} <= set(record["batch_sizes"])
        assert record["examples"] == 42 + 50
        assert sum(name.startswith("real") for name in record["inputs"]) >= 5
        assert record["max_abs_diff"] <= parity["max_abs_diff"] <= 1e-4 and record["share"] <= 1
        assert record["argmax_agreement"] == parity["argmax_agreement"] == 1.0
        assert record["decisions"] + record["ties"] == record["examples"]
    assert {name for name in compared if "before its activation" in name} == {
        "onnxruntime, optimised, before its activation"
    }
    assert parity["weak"] == {}


def test_the_recorded_samples_are_what_keras_computes(artifact):
    model, raw = conv_net(), export.Preprocessing("uint8", scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    names = json.loads((artifact / "parity.json").read_text())["recorded"]
    with np.load(artifact / "samples.npz") as arrays:
        # The names, what is allowed, and an input and an output of each batch.
        assert len(arrays.files) == 2 + 2 * len(names)
        real = names.index("real 10 to 41, batch 32")
        np.testing.assert_array_equal(arrays[f"{real}/input/input"], images(50)[10:42])
        for i in range(len(names)):
            expected = ops.softmax(model(raw.apply(arrays[f"{i}/input/input"])))
            np.testing.assert_allclose(arrays[f"{i}/output/probabilities"], expected, atol=1e-6)


@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_other_activations_are_proven_by_their_own_rule(activation, tmp_path):
    made = export.export(subclassed(), tmp_path / "a", activation=activation, formats="onnx")
    record = made.parity["comparisons"][0]
    assert (record["argmax_agreement"] == 1.0) if activation else (record["argmax_agreement"] is None)
    seen_before = any("before its activation" in c["candidate"] for c in made.parity["comparisons"])
    assert seen_before == (activation is not None)
    y = export.load(made.path).predict(np.ones((2, 6), "float32"))
    expected = subclassed()(np.ones((2, 6), "float32"))
    np.testing.assert_allclose(y, ops.sigmoid(expected) if activation else expected, atol=1e-5)


def test_dynamic_sizes_are_compared_at_two_sizes(tmp_path):
    raw = {"dtype": "uint8", "scale": 1 / 255}
    made = export.export(conv_net(size=None), tmp_path / "a", preprocessing=raw, activation="softmax")
    assert made.metadata["inputs"][0]["shape"] == [None, None, None, 3]
    assert "random, batch 2, size (41, 45, 3)" in made.parity["comparisons"][0]["inputs"]
    assert export.verify(made.path)["argmax_agreement"] == 1.0


def test_a_mixed_precision_model_says_what_float32_changed(tmp_path):
    with precision("mixed_bfloat16"):
        model = conv_net()
    made = export.export(model, tmp_path / "a", activation="softmax")
    assert made.metadata["precision"] == {"exported": "float32", "trained": "mixed_bfloat16"}
    change = made.parity["float32_against_trained_precision"]
    assert change["trained_precision"] == "mixed_bfloat16"
    assert 1e-5 < change["max_abs_diff"] < 0.05
    assert made.parity["max_abs_diff"] <= 1e-5


def test_wider_types_are_kept_and_told(tmp_path):
    inputs = keras.Input((3,), dtype="float64")
    model = keras.Model(inputs, layers.Dense(2, dtype="float64")(inputs))
    made = export.export(model, tmp_path / "a")
    assert made.metadata["inputs"][0]["dtype"] == made.metadata["outputs"][0]["dtype"] == "float64"
    assert made.metadata["precision"] == {"exported": "float64", "trained": "float64"}
    assert export.load(made.path)(np.ones((1, 3))).dtype == "float64"


def test_a_fixed_batch_becomes_dynamic(tmp_path):
    inputs = keras.Input(batch_shape=(4, 3))
    made = export.export(keras.Model(inputs, layers.Dense(2)(inputs)), tmp_path / "a", formats="onnx")
    assert made.metadata["inputs"][0]["shape"] == [None, 3]
    assert made.parity["comparisons"][0]["batch_sizes"] == [1, 2, 7, 32]


def test_masked_sequences_compute_the_same(tmp_path):
    from keras_skip import HighwayBlock, ResidualBlock

    inputs = keras.Input((None,), dtype="int32")
    x = HighwayBlock()(ResidualBlock(8)(layers.Embedding(10, 8, mask_zero=True)(inputs)))
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))
    tokens = np.random.default_rng(0).integers(0, 10, (20, 9), dtype="int32")
    tokens[:, 6:] = 0
    made = export.export(model, tmp_path / "a", samples=tokens, activation="softmax", formats="onnx")
    assert made.parity["max_abs_diff"] <= 1e-5
    assert np.ptp(export.load(made.path)(tokens), axis=0).max() > 1e-3


def test_integers_of_unknown_range_are_some_that_the_model_takes(tmp_path):
    inputs = keras.Input((5,), dtype="int32")
    model = keras.Model(inputs, layers.Dense(3)(ops.cast(inputs, "float32")))
    artifact = export.export(model, tmp_path / "a", formats="onnx").path
    assert drawn(artifact).min() < 0 < drawn(artifact).max()
    samples = np.arange(10, dtype="int32").reshape(2, 5)
    made = export.export(model, tmp_path / "b", samples=samples, formats="onnx")
    assert made.metadata["inputs"][0]["dtype"] == "int32"
    assert (drawn(made.path).min(), drawn(made.path).max()) == (0, 9)
    assert export.verify(made.path)["max_abs_diff"] <= 1e-4


def drawn(artifact):
    """All values of the only input that an artifact was compared on."""
    with np.load(artifact / "samples.npz") as stored:
        return np.concatenate([stored[name].ravel() for name in stored.files if "input/" in name])


def test_an_existing_artifact_is_kept_unless_it_may_be_overwritten(spoiled):
    before = contents(spoiled)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        export.export(mlp(), spoiled)
    assert contents(spoiled) == before
    (spoiled / "letter.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="something else"):
        export.export(mlp(), spoiled, overwrite=True)
    (spoiled / "letter.txt").unlink()
    assert contents(spoiled) == before
    made = export.export(mlp(), spoiled, overwrite=True)
    assert export.verify(spoiled)["files"] == len(made.metadata["files"]) + 1
    assert made.metadata["inputs"][0]["shape"] == [None, 6]
    assert list(spoiled.parent.iterdir()) == [spoiled]


def eager_only(x):
    return x + 0.5 if tf.executing_eagerly() else x


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (ops.erfinv, export.ExportError, "Erfinv"),
        (eager_only, export.ParityError, "SavedModel against Keras on random, batch 1 to differ by at most"),
        (lambda x: ops.log(-ops.abs(x)), export.ParityError, "Keras to give numbers.* Received: only NaN"),
    ],
    ids=["unsupported", "different", "not-finite"],
)
def test_a_failed_export_leaves_what_was_there_and_nothing_else(function, error, message, spoiled):
    before = contents(spoiled)
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(3)(Function(function)(inputs)))
    with pytest.raises(error, match=message):
        export.export(model, spoiled, overwrite=True)
    assert contents(spoiled) == before
    assert list(spoiled.parent.iterdir()) == [spoiled]
    with pytest.raises(error, match=message):
        export.export(model, spoiled.parent / "new")
    assert list(spoiled.parent.iterdir()) == [spoiled]


def test_a_model_that_only_runs_on_one_batch_size_is_an_error(tmp_path):
    inputs = keras.Input((4, 4))
    fixed = Function(lambda x: tf.reshape(x, (2, 16)))
    model = keras.Model(inputs, layers.Dense(2)(fixed(inputs)))
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        export.export(model, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_artifact_is_never_overwritten(tmp_path):
    (tmp_path / "letter.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="something else"):
        export.export(mlp(), tmp_path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": ["a", "b"]}, "a label for each of 3 outputs. Received: 2"),
        ({"samples": np.zeros((2, 7), "float32")}, r"shape \(any, 6\).* Received: shape \(2, 7\)"),
        ({"samples": np.zeros((2, 6), "uint8")}, "dtype float32. Received: dtype uint8"),
        ({"samples": np.zeros((0, 6), "float32")}, "at least one example"),
        ({"activation": "relu"}, "activation='relu'"),
        ({"opset": 11}, "opset=11"),
        ({"preprocessing": {"dtype": "text"}}, "Expected dtype"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_and_leave_nothing(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export.export(mlp(), tmp_path / "a", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_lambda_like_layers_convert_where_their_operations_do(tmp_path):
    made = export.export(with_function(ops.sin), tmp_path / "a", formats="onnx")
    assert made.parity["max_abs_diff"] <= 1e-5


def test_weights_too_large_for_one_message_are_kept_beside_the_model(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_files, "LARGEST", 100)
    wide = keras.Sequential([keras.Input((6,)), layers.Dense(300), layers.Dense(3)])
    made = export.export(wide, tmp_path / "a", formats="onnx")
    assert {"model.onnx", "model.onnx.data"} <= set(made.metadata["files"])
    assert made.onnx.stat().st_size < (made.path / "model.onnx.data").stat().st_size
    assert export.verify(made.path)["files"] == len(made.metadata["files"]) + 1
    x = np.ones((2, 6), "float32")
    np.testing.assert_allclose(export.load(made.path)(x), wide(x), rtol=1e-4, atol=1e-5)
    alone = export.to_onnx(wide, tmp_path / "m.onnx")
    (y,) = onnxruntime.InferenceSession(alone).run(None, {"input": x})
    np.testing.assert_allclose(y, wide(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(export.ExportError, match="at most 2 GB of weights for precision='int8'"):
        export.export(wide, tmp_path / "b", precision="int8", calibration=x, test=(x, [0, 1]))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "m.onnx", "m.onnx.data"]


def test_weights_that_fp16_makes_small_enough_are_inside_the_model_again(tmp_path, monkeypatch):
    # What halves them is a process of its own, with the true limit.
    monkeypatch.setattr(onnx_files, "LARGEST", 100)
    wide = keras.Sequential([keras.Input((6,)), layers.Dense(300), layers.Dense(3)])
    made = export.export(wide, tmp_path / "a", precision="fp16")
    assert sorted(made.metadata["files"]) == ["model.onnx", "parity.json", "samples.npz"]
    sizes = made.parity["precision"]["bytes"]
    assert sizes["fp16"] == made.onnx.stat().st_size < 0.75 * sizes["fp32"]
    assert export.verify(made.path)["files"] == len(made.metadata["files"]) + 1


def test_weights_too_large_for_one_message_in_fp16_are_kept_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_files, "LARGEST", 100)
    wide = keras.Sequential([keras.Input((6,)), layers.Dense(300), layers.Dense(3)])
    there = export.export(wide, tmp_path / "a", formats="onnx").onnx
    (tmp_path / "b").mkdir()
    fp16.convert_to_fp16(there, narrower := tmp_path / "b" / there.name)
    before, after = onnx_files.replace_model(there, narrower)
    assert after == sum((there.parent / name).stat().st_size for name in ("model.onnx", "model.onnx.data")) < before
    assert list((tmp_path / "b").iterdir()) == []
    x = np.ones((2, 6), "float32")
    (y,) = onnxruntime.InferenceSession(there).run(None, {"input": x})
    np.testing.assert_allclose(y, wide(x), rtol=5e-3, atol=5e-3)
