"""Every layer of the table under onnxruntime: within 1e-4 of the largest output, on two batch sizes."""

from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

import export
import keras_skip as ks
from tests.channels import skip_without_channels_first
from tests.export.models import randomise
from tests.export.structure import optimised
from tests.layers.table import CASES, KINDS, REPRESENTATIVES, Case, ids, public_classes
from tests.sweep import sweep


def differences(
    layer: keras.layers.Layer, shape: tuple, inputs: list[np.ndarray], path: Path, layout: str | None = None
) -> list[float]:
    symbolic = keras.Input(shape)
    model = randomise(keras.Model(symbolic, layer(symbolic)))
    session = onnxruntime.InferenceSession(
        export.to_onnx(model, path, layout=layout), providers=["CPUExecutionProvider"]
    )
    results = []
    for x in inputs:
        expected = np.asarray(model(x, training=False))
        fed = np.moveaxis(x, -1, 1) if layout else x
        received = session.run(["output"], {"input": fed})[0]
        received = np.moveaxis(received, 1, -1) if layout else received
        assert received.shape == expected.shape
        assert np.ptp(expected) > 0
        results.append(float(np.max(np.abs(received - expected)) / np.max(np.abs(expected))))
    return results


# With channels first at the edge of the graph there is nothing to transpose, but for layers that work on the last axis:
# a dense layer inside, or normalisation over groups, which reshapes it. Channel attention transposes its gate, which is
# one pixel large, and attention over depth its weights, which have one channel for each of its two or three values.
TRANSPOSES = {
    "residual-group-norm": 5,
    "dense-group": 8,
    "stochastic-depth": 2,
    "stochastic-depth-sample": 2,
    "skip-highway": 3,
    "depth-attention-2d": 3,
    "depth-attention-blocks": 2,
}
GATED = (ks.EfficientChannelAttention, ks.SqueezeExcite)


@pytest.mark.parametrize(
    "case",
    sweep(CASES, lambda case: case in REPRESENTATIVES or case.name in TRANSPOSES),
    ids=[case.name for case in CASES],
)
def test_every_layer_computes_the_same_under_onnxruntime(case: Case, tmp_path: Path):
    inputs = [case.data(2), case.data(5, seed=1)]
    layout = "nchw" if case.rank > 1 and case.streams is None else None
    assert max(differences(case.make(), case.shape()[1:], inputs, tmp_path / "layer.onnx", layout)) <= 1e-4
    operations = [node.op_type for node in optimised(tmp_path / "layer.onnx").node]
    if case.cls is ks.DropPath:
        assert operations == ["Identity"]  # from the graph's input to its output, which have names of their own
        return
    assert not {"BatchNormalization", "Identity"} & set(operations)
    if layout:
        expected = TRANSPOSES.get(case.name, int(case.cls in GATED))
        # tf2onnx goes through a set of nodes, and in some orders removes all transposes of attention over depth.
        allowed = {0, expected} if case.public is ks.DepthAttention else {expected}
        assert operations.count("Transpose") in allowed


@pytest.mark.parametrize("case", [c for c in KINDS if c.takes_data_format and "shortcut" not in c.kwargs], ids=ids)
def test_channels_first_computes_the_same_under_onnxruntime(case: Case, tmp_path: Path):
    skip_without_channels_first()
    inputs = [case.data(2, "channels_first"), case.data(5, "channels_first", seed=1)]
    layer = case.make(data_format="channels_first")
    shape = case.shape(data_format="channels_first")[1:]
    assert max(differences(layer, shape, inputs, tmp_path / "layer.onnx")) <= 1e-4


@pytest.mark.parametrize("case", [c for c in KINDS if c.rank], ids=ids)
def test_dynamic_sizes_compute_the_same_under_onnxruntime(case: Case, tmp_path: Path):
    small, large = case.data(2), case.data(3, seed=1)
    large = np.concatenate([large, large[:, ::-1]], axis=1)
    shape = (*[None] * case.rank, *case.shape()[1 + case.rank :])
    assert max(differences(case.make(), shape, [small, large], tmp_path / "layer.onnx")) <= 1e-4


@pytest.mark.parametrize("name", ["layer", "rms"])
def test_normalizations_by_name_compute_the_same_under_onnxruntime(name: str, tmp_path: Path):
    case = Case("named", ks.HighwayBlock, {"normalization": name, "norm_epsilon": 0.1}, rank=1)
    assert max(differences(case.make(), case.shape()[1:], [case.data()], tmp_path / "layer.onnx")) <= 1e-4


def test_recurrent_layers_compute_the_same_for_any_batch_length_and_mask(tmp_path: Path):
    inputs = keras.Input((None, 4))
    masked = keras.layers.Masking()(inputs)
    cells = [ks.RecurrentHighwayCell(7, 1), ks.RecurrentHighwayCell(5, 2, "coupled")]
    outputs = {
        "layer": ks.RecurrentHighway(5, 2, dropout=0.2, recurrent_dropout=0.2, return_sequences=True)(inputs),
        "masked": ks.RecurrentHighway(5, 2, "coupled")(masked),
        "both_ways": keras.layers.Bidirectional(ks.RecurrentHighway(5, 1, return_sequences=True))(masked),
        "stacked": keras.layers.RNN(cells)(inputs),
    }
    model = randomise(keras.Model(inputs, outputs))
    session = onnxruntime.InferenceSession(
        export.to_onnx(model, tmp_path / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    generator = np.random.default_rng(0)
    for batch, length in ((1, 1), (3, 6), (5, 11)):
        x = generator.normal(size=(batch, length, 4)).astype("float32")
        x[::2, length - length // 2 :] = 0.0
        for name, expected in model(x, training=False).items():
            received = session.run([name], {session.get_inputs()[0].name: x})[0]
            np.testing.assert_allclose(received, np.asarray(expected), rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("shape", [(3,), (None, 3)], ids=["static", "sequence"])
def test_a_gated_residual_network_computes_the_same_with_its_context(shape: tuple, tmp_path: Path):
    inputs, context = keras.Input((None, 4), name="x"), keras.Input(shape, name="context")
    model = randomise(keras.Model([inputs, context], ks.GatedResidualNetwork(6, 5, dropout=0.1)(inputs, context)))
    session = onnxruntime.InferenceSession(
        export.to_onnx(model, tmp_path / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    generator = np.random.default_rng(0)
    for batch, length in ((1, 1), (3, 6)):
        x = generator.normal(size=(batch, length, 4)).astype("float32")
        c = generator.normal(size=(batch, *[length] * (len(shape) - 1), 3)).astype("float32")
        expected = np.asarray(model([x, c], training=False))
        received = session.run(["output"], {"x": x, "context": c})[0]
        np.testing.assert_allclose(received, expected, rtol=0, atol=1e-5 * max(1.0, np.abs(expected).max()))


def test_the_table_holds_every_public_layer():
    assert {cls for case in CASES for cls in case.classes} == set(public_classes())


def all_blocks(policy: str) -> keras.Model:
    x = symbolic = keras.Input((16, 16, 6))
    for case in REPRESENTATIVES:
        if case.rank == 2 and "shortcut" not in case.kwargs:
            x = case.make(dtype=policy)(x)
            # The next block finds the channels it expects, and enough pixels.
            x = keras.layers.Conv2D(6, 1, dtype=policy)(keras.layers.UpSampling2D(2)(x) if x.shape[1] < 8 else x)
    return keras.Model(symbolic, x)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_blocks_compute_in_float32_after_saving_and_loading(policy: str, tmp_path: Path):
    trained = randomise(all_blocks(policy))
    trained.save(tmp_path / "model.keras")
    path = export.to_onnx(keras.saving.load_model(tmp_path / "model.keras"), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).normal(size=(2, 16, 16, 6)).astype("float32")
    received = session.run(["output"], {"input": x})[0]

    exact = all_blocks("float32")
    exact.set_weights(trained.get_weights())
    expected = np.asarray(exact(x))
    assert received.dtype == "float32"
    assert np.max(np.abs(received - expected)) <= 1e-4 * np.max(np.abs(expected))
    assert np.max(np.abs(received - np.asarray(keras.ops.cast(trained(x), "float32")))) > 1e-4 * np.max(
        np.abs(expected)
    )


STACKS = {
    "highway": {"skip": "highway"},
    "hyper": {"skip": "hyper", "streams": 3},
    "average": {"skip": "depth_average", "dilation": 2},
    "attention": {"skip": "depth_attention", "block_size": 2},
}


@pytest.mark.parametrize("name", STACKS)
def test_whole_stacks_compute_the_same_under_onnxruntime(name: str, tmp_path: Path):
    blocks = [keras.layers.MultiHeadAttention(2, 4), keras.layers.Dense(6), keras.layers.Conv1D(6, 3, padding="same")]
    layers = ks.stack(blocks, **STACKS[name])
    symbolic = keras.Input((None, 6))
    model = randomise(keras.Model(symbolic, layers(symbolic)))
    path = export.to_onnx(model, tmp_path / "stack.onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for shape in ((2, 9, 6), (3, 5, 6)):
        x = np.random.default_rng(0).normal(size=shape).astype("float32")
        expected = np.asarray(model(x))
        (received,) = session.run(None, {session.get_inputs()[0].name: x})
        assert np.max(np.abs(received - expected)) <= 1e-5 * np.max(np.abs(expected))
    if name == "average":
        pruned = export.to_onnx(ks.prune_skips(model, 0.3), tmp_path / "pruned.onnx")
        assert len(onnx.load(pruned).graph.node) < len(onnx.load(path).graph.node)
