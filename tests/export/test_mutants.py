"""A proof that cannot fail proves nothing: every one of these damages of a converted model has to be refused.

Each network is converted once; a damage is done to a copy of its file, and the proof is run on it as an export runs it.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from keras import layers, ops
from onnx import helper, numpy_helper

import export
from export.convert import onnx_model
from export.convert.onnx_model import write_onnx
from export.model.endpoint import make_endpoint
from export.proof.prove import prove
from export.proof.reference import Reference, compute_reference
from tests.export.models import Function, randomise

SCALES = (1e-8, 1e-4, 1.0, 1e4, 1e8)
Change = Callable[[Any], None]


class Converted:
    """A network, what Keras makes of it, and its ONNX file."""

    def __init__(self, folder: Path, model: keras.Model, activation: str | None = None, samples: Any = None) -> None:
        endpoint = make_endpoint(model, None, activation, None, samples)
        self.reference: Reference = compute_reference(endpoint, model, samples, batch_sizes=(1, 2, 7))
        self.file = folder / "model.onnx"
        write_onnx(endpoint, self.file, 17)

    def damaged(self, change: Change) -> Path:
        model = onnx.load(self.file)
        change(model)
        target = self.file.with_name("damaged.onnx")
        onnx.save(model, target)
        return target

    def refuses(self, change: Change, **options: Any) -> str:
        """The sentence with which a damaged file is refused."""
        with pytest.raises((export.ParityError, export.ExportError)) as refusal:
            prove(self.reference, onnx=self.damaged(change), device="cpu", locate=False, **options)
        return str(refusal.value)


def after(operation: str, *constants: Any, output: int = 0) -> Change:
    """Applies an operation to an output and constants."""

    def change(model: Any) -> None:
        graph = model.graph
        name = graph.output[output].name
        for node in graph.node:
            node.output[:] = ["exact" if made == name else made for made in node.output]
            node.input[:] = ["exact" if used == name else used for used in node.input]
        names = [f"operand{i}" for i in range(len(constants))]
        held = zip(names, constants, strict=True)
        graph.initializer.extend(numpy_helper.from_array(np.asarray(x), held_name) for held_name, x in held)
        graph.node.append(helper.make_node(operation, ["exact", *names], [name]))

    return change


def of_weights(shape: tuple[int, ...], edit: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Changes every weight of a shape."""

    def change(model: Any) -> None:
        found = [weights for weights in model.graph.initializer if tuple(weights.dims) == shape]
        assert found, [tuple(weights.dims) for weights in model.graph.initializer]
        for weights in found:
            edited = np.ascontiguousarray(edit(numpy_helper.to_array(weights).copy()))
            weights.CopyFrom(numpy_helper.from_array(edited, weights.name))

    return change


def regression(scale: float) -> keras.Model:
    """Outputs about as large as `scale`."""
    keras.utils.set_random_seed(0)
    x = keras.Input((16,))
    last = layers.Dense(4, kernel_initializer=keras.initializers.RandomNormal(0, scale / 4))
    return keras.Model(x, last(layers.Dense(32, activation="relu")(x)))


def column(index: int, edit: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray], np.ndarray]:
    def change(weights: np.ndarray) -> np.ndarray:
        weights[:, index] = edit(weights[:, index])
        return weights

    return change


# Each is given the scale of the outputs.
DAMAGES: dict[str, Callable[[float], Change]] = {
    "twice as large": lambda scale: after("Mul", np.float32(2)),
    "a thousandth larger": lambda scale: after("Mul", np.float32(1.001)),
    "shifted": lambda scale: after("Add", np.float32(0.01 * scale)),
    "negative": lambda scale: after("Neg"),
    "cut at zero": lambda scale: after("Relu"),
    "all zero": lambda scale: after("Mul", np.float32(0)),
    "one channel twice as large": lambda scale: after("Mul", np.array([1, 1, 2, 1], "float32")),
    "two channels exchanged": lambda scale: of_weights((32, 4), lambda w: w[:, [1, 0, 2, 3]]),
    "one weight missing": lambda scale: of_weights(
        (32, 4), lambda w: np.where(np.arange(128).reshape(32, 4) == 5, 0, w)
    ),
    "rounded to two digits": lambda scale: of_weights((32, 4), lambda w: (scale * np.round(w / scale, 2)).astype("f")),
    "a row of the first kernel missing": lambda scale: of_weights(
        (16, 32), lambda w: w * (np.arange(16) != 3)[:, None]
    ),
    "in half precision": lambda scale: of_weights((16, 32), lambda w: w.astype("float16").astype("float32")),
}


@pytest.fixture(scope="module", params=SCALES, ids=lambda scale: f"{scale:g}")
def scaled(request: Any, tmp_path_factory: Any) -> Iterator[tuple[float, Converted]]:
    yield request.param, Converted(tmp_path_factory.mktemp("scaled"), regression(request.param))


def test_the_right_export_passes_at_any_scale(scaled):
    _, network = scaled
    proof = prove(network.reference, onnx=network.file, device="cpu")
    assert proof["weak"] == {} and max(c["share"] for c in proof["comparisons"] if "share" in c) < 0.5


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_export_is_refused_at_any_scale(damage, scaled):
    scale, network = scaled
    assert "to differ by at most" in network.refuses(DAMAGES[damage](scale))


def classifier(spread: float, common: float = 0.0, classes: int = 5) -> keras.Model:
    """Logits that are some `spread` apart, with a value in common."""
    keras.utils.set_random_seed(1)
    x = keras.Input((16,))
    kernel = keras.initializers.RandomNormal(0, spread / 4)
    return keras.Model(
        x, layers.Dense(classes, kernel_initializer=kernel, bias_initializer=keras.initializers.Constant(common))(x)
    )


@pytest.fixture(scope="module", params=[(1e-4, 0.0), (1.0, 0.0), (100.0, 0.0), (1.0, 1e4)], ids=str)
def classified(request: Any, tmp_path_factory: Any) -> Converted:
    return Converted(tmp_path_factory.mktemp("classified"), classifier(*request.param), "softmax")


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_an_activation_at_the_end_passes_with_its_logits(activation, tmp_path):
    network = Converted(tmp_path, classifier(30.0), activation)
    proof = prove(network.reference, onnx=network.file, device="cpu")
    assert "onnxruntime, optimised, before its activation" in [c["candidate"] for c in proof["comparisons"]]
    assert proof["weak"] == {} and proof["argmax_agreement"] == 1.0


def test_right_logits_pass_whatever_they_have_in_common(classified):
    assert prove(classified.reference, onnx=classified.file, device="cpu")["weak"] == {}


LOGIT_DAMAGES: dict[str, Change] = {
    "classes reversed": of_weights((16, 5), lambda w: w[:, ::-1]),
    "a class a tenth larger": of_weights((16, 5), column(3, lambda w: 1.1 * w)),
    "a class missing": of_weights((16, 5), column(3, np.zeros_like)),
}


@pytest.mark.parametrize("damage", LOGIT_DAMAGES)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_wrong_logits_are_refused_behind_any_softmax(damage, precision, classified):
    assert classified.refuses(LOGIT_DAMAGES[damage], precision=precision)


def tokens() -> keras.Model:
    keras.utils.set_random_seed(2)
    ids, kinds = keras.Input((8,), dtype="int32", name="ids"), keras.Input((8,), dtype="int32", name="kinds")
    mask = keras.Input((8,), dtype="bool", name="mask")
    x = layers.Embedding(300, 12)(ids) + layers.Embedding(3, 12)(kinds)
    x = x * ops.expand_dims(ops.cast(mask, "float32"), -1)
    return keras.Model([ids, kinds, mask], layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def forget_from(row: int) -> Callable[[np.ndarray], np.ndarray]:
    def edit(table: np.ndarray) -> np.ndarray:
        table[row:] = 0
        return table

    return edit


@pytest.mark.parametrize(
    "change",
    [
        of_weights((300, 12), forget_from(290)),
        of_weights((3, 12), forget_from(2)),
        of_weights((300, 12), lambda table: np.roll(table, 1, axis=0)),
    ],
    ids=["last tokens missing", "last kind missing", "tokens shifted"],
)
def test_every_row_of_every_table_is_looked_up(change, tmp_path):
    network = Converted(tmp_path, tokens())
    assert prove(network.reference, onnx=network.file, device="cpu")["weak"] == {}
    network.refuses(change)


def numbers() -> keras.Model:
    x = keras.Input((6,), name="x")
    whole = ops.cast(ops.floor(100 * x), "int32")
    return keras.Model(x, {"whole": whole + 50_000, "sign": x > 0, "index": ops.argmax(x, axis=-1), "same": 2.0 * x})


def cast_to(kind: int, output: int) -> Change:
    def change(model: Any) -> None:
        after("Identity", output=output)(model)
        last = model.graph.node[-1]
        last.op_type = "Cast"
        last.attribute.append(helper.make_attribute("to", kind))
        model.graph.output[output].type.tensor_type.elem_type = kind

    return change


def test_whole_numbers_booleans_types_and_shapes_are_exact(tmp_path):
    network = Converted(tmp_path, randomise(numbers()))
    outputs = network.reference.endpoint.outputs
    place = {name: outputs.index(name) for name in outputs}
    proof = prove(network.reference, onnx=network.file, device="cpu")
    assert proof["weak"] == {}
    assert "to be equal" in network.refuses(after("Add", np.int32(1), output=place["whole"]))
    assert "to be equal" in network.refuses(after("Not", output=place["sign"]))
    assert "to be equal" in network.refuses(after("Add", np.int32(1), output=place["index"]))
    assert "dtype" in network.refuses(cast_to(onnx.TensorProto.DOUBLE, place["same"]))
    assert "shape" in network.refuses(after("Unsqueeze", np.array([1]), output=place["same"]))


def test_an_integer_that_hangs_on_rounding_is_a_tie_and_no_refusal(tmp_path):
    x = keras.Input((64, 64, 8), name="x")
    # Two halves of the channels that are equal but for rounding.
    y = layers.Dense(4, kernel_initializer="ones")(x) + 0 * layers.Dense(4)(x)
    network = Converted(tmp_path, keras.Model(x, ops.argmax(y * (1 + 1e-7 * ops.arange(4.0)), axis=-1)))
    proof = prove(network.reference, onnx=network.file, device="cpu")
    assert max(c["ties"] for c in proof["comparisons"] if "ties" in c) > 100


@pytest.mark.parametrize("kind", ["zero", "shut", "lost in rounding"])
def test_outputs_that_no_input_moves_are_called_weak(kind, tmp_path):
    bias = {"zero": 0.0, "shut": -1e30, "lost in rounding": 1e9}[kind]
    kernel = "zeros" if kind == "zero" else keras.initializers.RandomNormal(0, 1e-3)
    x = keras.Input((4,))
    y = layers.Dense(
        3, None if bias > 0 else "relu", kernel_initializer=kernel, bias_initializer=keras.initializers.Constant(bias)
    )(x)
    network = Converted(tmp_path, keras.Model(x, [y, layers.Dense(2)(x)]))
    (weak,) = prove(network.reference, onnx=network.file, device="cpu")["weak"].items()
    assert weak == (network.reference.endpoint.outputs[0], "It is the same for every input.")


def test_larger_inputs_are_tried_where_others_move_nothing(tmp_path):
    x = keras.Input((4,))
    kernel = keras.initializers.RandomUniform(0.5, 1)
    y = layers.Dense(3, "relu", kernel_initializer=kernel, bias_initializer=keras.initializers.Constant(-20))(x)
    network = Converted(tmp_path, keras.Model(x, y))
    assert network.reference.larger is not None
    assert all("10 times" in name for name in network.reference.larger.inputs)
    assert prove(network.reference, onnx=network.file, device="cpu")["weak"] == {}
    network.refuses(of_weights((4, 3), column(1, lambda w: 1.01 * w)))


def test_larger_inputs_excuse_nothing_at_others(tmp_path):
    keras.utils.set_random_seed(0)
    x = keras.Input((8,))
    bias = keras.initializers.Constant(-300)
    far = layers.Dense(3, "relu", bias_initializer=bias, name="far")(x)
    network = Converted(tmp_path, keras.Model(x, {"near": layers.Dense(3, name="near")(x), "far": far}))
    assert prove(network.reference, onnx=network.file, device="cpu")["weak"] == {}
    for output in range(2):
        network.refuses(after("Add", np.float32(1e-3), output=output))
    # What only larger inputs show.
    network.refuses(of_weights((8, 3), column(1, lambda w: 1.01 * w)))


def vanishing() -> keras.Model:
    """A deep stack of sigmoids, through which nothing of the input arrives."""
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input((8,), name="x")
    for _ in range(16):
        x = layers.Dense(8, "sigmoid", kernel_initializer=keras.initializers.RandomNormal(0, 0.2))(x)
    return keras.Model(inputs, layers.Dense(3)(x))


def test_larger_weights_are_tried_where_larger_inputs_do_not_help(monkeypatch, tmp_path):
    made = export.export(vanishing(), tmp_path / "a", formats="onnx", batch_sizes=(1, 2, 7))
    assert made.weak == {}
    assert any("weights 10 times as large" in c["candidate"] for c in made.parity["comparisons"])
    assert sorted(path.name for path in made.path.iterdir()) == [
        "artifact.json", "model.onnx", "parity.json", "samples.npz",
    ]  # fmt: skip
    # A conversion that cuts what a layer passes on is not to be seen in the network's own answers.
    convert = onnx_model.convert_endpoint

    def convert_wrongly(endpoint: Any, opset: int) -> Any:
        model = convert(endpoint, opset)
        next(node for node in model.graph.node if node.op_type == "Sigmoid").op_type = "HardSigmoid"
        return model

    monkeypatch.setattr(onnx_model, "convert_endpoint", convert_wrongly)
    with pytest.raises(export.ParityError, match="weights|differ by at most"):
        export.export(vanishing(), tmp_path / "b", formats="onnx", batch_sizes=(1, 2, 7))


def test_mixed_channels_are_each_held_to_their_own_scale(tmp_path):
    x = keras.Input((16,))
    boxes = layers.Rescaling(640.0)(layers.Dense(4, activation="sigmoid")(x))
    scores = layers.Dense(3, activation="sigmoid")(x)
    tiny = layers.Rescaling(1e-6)(layers.Dense(2)(x))
    network = Converted(tmp_path, keras.Model(x, layers.Concatenate()([boxes, scores, tiny])))
    assert prove(network.reference, onnx=network.file, device="cpu")["weak"] == {}
    for place, by in ((1, 0.5), (5, 1e-3), (8, 1e-8)):
        network.refuses(after("Add", by * (np.arange(9) == place).astype("float32")))


def test_a_saturated_sigmoid_passes(tmp_path):
    x = keras.Input((4,))
    bias = keras.initializers.Constant(-20)
    network = Converted(tmp_path, keras.Model(x, layers.Dense(3, "sigmoid", bias_initializer=bias)(x)))
    assert prove(network.reference, onnx=network.file, device="cpu")["weak"] == {}
    # A SavedModel alone does not tell what is before it.
    own = network.reference.endpoint.numpy
    proof = prove(network.reference, saved_model=lambda x: {name: 0 * y for name, y in own(x).items()})
    assert list(proof["weak"]) == list(network.reference.endpoint.outputs)
    # Behind it nothing is to be seen, before it everything.
    network.refuses(of_weights((4, 3), column(1, lambda w: 1.01 * w)))


def test_functions_are_the_same_for_batches_and_their_parts():
    for endpoint, expected in (
        (lambda x: 2 * x, True),
        (lambda x: x - ops.mean(x, axis=0, keepdims=True), False),
        (lambda x: ops.mean(x, axis=0), False),
        (lambda x: ops.reshape(x, (-1, 2)), False),
        (lambda x: ops.mean(x), False),
        (lambda x: ops.cumsum(x, axis=0), False),
        (lambda x: x * ops.cast(ops.shape(x)[0], "float32"), False),
        (lambda x: ops.matmul(x, ops.transpose(x)), False),
        (lambda x: ops.flip(x, axis=0), False),
        (lambda x: ops.sort(x, axis=1), True),
    ):
        x = keras.Input((4,))
        model = keras.Model(x, Function(endpoint)(x))
        assert compute_reference(make_endpoint(model), model, None).is_batchable() == expected


def test_real_inputs_tell_whether_examples_are_independent():
    """Random ones do not reach the values at which these examples mix."""
    x = keras.Input((4,))
    mixing = Function(lambda x: x - ops.mean(ops.relu(x - 100), axis=0, keepdims=True))
    model = keras.Model(x, mixing(x))
    samples = np.random.default_rng(0).uniform(200, 300, (6, 4)).astype("float32")
    endpoint = make_endpoint(model, samples=samples)
    assert compute_reference(endpoint, model, None).is_batchable()
    assert not compute_reference(endpoint, model, samples).is_batchable()
