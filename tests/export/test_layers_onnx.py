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
from tests.layers.table import CASES, KINDS, REPRESENTATIVES, Case, public_classes
from tests.sweep import sweep

pytestmark = pytest.mark.usefixtures("in_this_process")


CPU = ["CPUExecutionProvider"]


def name_in_onnx(case: str) -> str:
    return case.replace("-", "_").replace(" ", "_")


def assert_same(
    made: dict[str, tuple[keras.layers.Layer, keras.KerasTensor]],
    batches: list[list[np.ndarray]],
    path: Path,
    share: float = 1e-4,
    **options,
) -> None:
    """Exports layers as one network with an output for each, and compares them with Keras.

    Args:
        made: Each layer with the symbolic input that it takes, by the name of its case.
        batches: The values of all inputs, in the order in which `made` has them.
        path: The file to write.
        share: The allowed difference as a share of the largest value of each output.
        options: Arguments of `to_onnx`.
    """
    inputs = {symbolic.name: symbolic for _, symbolic in made.values()}
    outputs = {name_in_onnx(case): layer(symbolic) for case, (layer, symbolic) in made.items()}
    model = randomise(keras.Model(inputs, outputs))
    session = onnxruntime.InferenceSession(export.to_onnx(model, path, **options), providers=CPU)
    moves = options.get("layout") == "nchw"
    for given in batches:
        batch = dict(zip(inputs, given, strict=True))
        expected = {name: np.asarray(y) for name, y in model(batch, training=False).items()}
        fed = {name: np.moveaxis(x, -1, 1) if moves else x for name, x in batch.items()}
        received = dict(zip(outputs, session.run(list(outputs), fed), strict=True))
        for name, y in expected.items():
            z = np.moveaxis(received[name], 1, -1) if moves else received[name]
            assert z.shape == y.shape and np.ptp(y) > 0, name
            assert np.max(np.abs(z - y)) <= share * np.max(np.abs(y)), name


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


def in_short(case: Case) -> bool:
    return case in REPRESENTATIVES or case.name in TRANSPOSES


def is_image(case: Case) -> bool:
    return case.rank > 1 and case.streams is None


def operations_before(graph: onnx.GraphProto, output: str) -> list[str]:
    """The operations on which an output depends."""
    found, needed = [], {output}
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            found.append(node.op_type)
            needed.update(node.input)
    return found


GROUPS = [[c for c in CASES if is_image(c) == images and in_short(c) == short] for short in (1, 0) for images in (0, 1)]


@pytest.mark.parametrize(
    "cases",
    sweep(GROUPS, lambda group: in_short(group[0])),
    ids=["vectors and sequences", "images", "other vectors and sequences", "other images"],
)
def test_every_layer_computes_the_same_under_onnxruntime(cases: list[Case], tmp_path: Path):
    """As one network with an input and an output for each layer, since one conversion is cheaper than many."""
    inputs = [keras.Input(case.shape()[1:], name=f"x{i:02}") for i, case in enumerate(cases)]
    made = {case.name: (case.make(), x) for case, x in zip(cases, inputs, strict=True)}
    batches = [[case.data(2) for case in cases], [case.data(5, seed=1) for case in cases]]
    layout = "nchw" if is_image(cases[0]) else None
    assert_same(made, batches, tmp_path / "layers.onnx", layout=layout)
    graph = optimised(tmp_path / "layers.onnx")
    for case in cases:
        operations = operations_before(graph, name_in_onnx(case.name))
        if case.cls is ks.DropPath:
            assert operations == ["Identity"]  # from the graph's input to its output, which have names of their own
            continue
        assert not {"BatchNormalization", "Identity"} & set(operations), case.name
        if layout:
            expected = TRANSPOSES.get(case.name, int(case.cls in GATED))
            # tf2onnx goes through a set of nodes, and in some orders removes all transposes of attention over depth.
            allowed = {0, expected} if case.public is ks.DepthAttention else {expected}
            assert operations.count("Transpose") in allowed, case.name


def on_one_input(cases: list[Case], shape: tuple, **options) -> dict[str, tuple]:
    x = keras.Input(shape, name="x")
    return {case.name: (case.make(**options), x) for case in cases}


WITH_CHANNELS = [case for case in KINDS if case.takes_data_format and "shortcut" not in case.kwargs]


@pytest.mark.parametrize("rank", sorted({case.rank for case in WITH_CHANNELS}))
def test_channels_first_computes_the_same_under_onnxruntime(rank: int, tmp_path: Path):
    skip_without_channels_first()
    cases = [case for case in WITH_CHANNELS if case.rank == rank]
    first = "channels_first"
    made = on_one_input(cases, cases[0].shape(data_format=first)[1:], data_format=first)
    assert_same(made, [[cases[0].data(2, first)], [cases[0].data(5, first, seed=1)]], tmp_path / "layers.onnx")


KINDS_OF_INPUT = sorted({(case.rank, case.streams or 0) for case in KINDS if case.rank})


@pytest.mark.parametrize(("rank", "streams"), KINDS_OF_INPUT)
def test_dynamic_sizes_compute_the_same_under_onnxruntime(rank: int, streams: int, tmp_path: Path):
    cases = [case for case in KINDS if (case.rank, case.streams or 0) == (rank, streams)]
    made = on_one_input(cases, (*[None] * rank, *cases[0].shape()[1 + rank :]))
    small, large = cases[0].data(2), cases[0].data(3, seed=1)
    large = np.concatenate([large, large[:, ::-1]], axis=1)
    assert_same(made, [[small], [large]], tmp_path / "layers.onnx", samples=small)


def test_normalizations_by_name_compute_the_same_under_onnxruntime(tmp_path: Path):
    cases = [Case(n, ks.HighwayBlock, {"normalization": n, "norm_epsilon": 0.1}, rank=1) for n in ("layer", "rms")]
    assert_same(on_one_input(cases, cases[0].shape()[1:]), [[cases[0].data()]], tmp_path / "layers.onnx")


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
    generator = np.random.default_rng(0)
    samples = generator.normal(size=(3, 4, 4)).astype("float32")
    path = export.to_onnx(model, tmp_path / "model.onnx", samples=samples)
    session = onnxruntime.InferenceSession(path, providers=CPU)
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
    session = onnxruntime.InferenceSession(export.to_onnx(model, tmp_path / "model.onnx"), providers=CPU)
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
    x = symbolic = keras.Input((8, 8, 6))
    for case in KINDS:
        if case.rank == 2 and "shortcut" not in case.kwargs:
            x = case.make(dtype=policy)(x)
            # The next block finds the channels it expects, and enough pixels.
            x = keras.layers.Conv2D(6, 1, dtype=policy)(keras.layers.UpSampling2D(2)(x) if x.shape[1] < 4 else x)
    return keras.Model(symbolic, x)


@pytest.mark.parametrize("policy", sweep(["mixed_bfloat16", "mixed_float16"], lambda policy: "bfloat" in policy))
def test_mixed_precision_blocks_compute_in_float32_after_saving_and_loading(policy: str, tmp_path: Path):
    trained = randomise(all_blocks(policy))
    trained.save(tmp_path / "model.keras")
    path = export.to_onnx(keras.saving.load_model(tmp_path / "model.keras"), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(path, providers=CPU)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 6)).astype("float32")
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


def test_whole_stacks_compute_the_same_under_onnxruntime(tmp_path: Path):
    def stack(name: str) -> keras.Layer:
        blocks = [
            keras.layers.MultiHeadAttention(2, 4),
            keras.layers.Dense(6),
            keras.layers.Conv1D(6, 3, padding="same"),
        ]
        return ks.stack(blocks, **STACKS[name])

    x = keras.Input((None, 6), name="x")
    batches = [[np.random.default_rng(0).normal(size=shape).astype("float32")] for shape in ((2, 9, 6), (3, 5, 6))]
    assert_same(
        {name: (stack(name), x) for name in STACKS}, batches, tmp_path / "stacks.onnx", 1e-5, samples=batches[0][0]
    )
    model = randomise(keras.Model(x, stack("average")(x)))
    pruned = export.to_onnx(ks.prune_skips(model, 0.3), tmp_path / "pruned.onnx", samples=batches[0][0])
    whole = operations_before(onnx.load(tmp_path / "stacks.onnx").graph, "average")
    assert len(onnx.load(pruned).graph.node) < len(whole)
