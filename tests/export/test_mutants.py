"""A proof that cannot fail proves nothing: every one of these damages of a converted model has to be refused.

Each network is converted once; a damage is done to a copy of its file, and the proof is run on it as an export runs it.
"""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from keras import layers, ops
from onnx import helper

from export.errors import ParityError
from export.proof.prove import prove
from tests.export.models import randomise
from tests.export.mutants import Change, Converted, after, column, of_weights

pytestmark = pytest.mark.usefixtures("in_this_process")

SCALES = (1e-8, 1e-4, 1.0, 1e4, 1e8)


def regression(scale: float) -> keras.Model:
    """Outputs about as large as `scale`."""
    keras.utils.set_random_seed(0)
    x = keras.Input((16,))
    last = layers.Dense(4, kernel_initializer=keras.initializers.RandomNormal(0, scale / 4))
    return keras.Model(x, last(layers.Dense(32, activation="relu")(x)))


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


def test_wrong_logits_of_a_file_that_rounds_as_a_gpu_are_refused(classified):
    damaged = classified.damaged(LOGIT_DAMAGES["a class a tenth larger"])
    with pytest.raises(ParityError, match="rounding as on a GPU"):
        prove(
            classified.reference, onnx=classified.file, simulated=damaged, precision="fp16", device="cpu", locate=False
        )


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


def test_mixed_channels_are_each_held_to_their_own_scale(tmp_path):
    x = keras.Input((16,))
    boxes = layers.Rescaling(640.0)(layers.Dense(4, activation="sigmoid")(x))
    scores = layers.Dense(3, activation="sigmoid")(x)
    tiny = layers.Rescaling(1e-6)(layers.Dense(2)(x))
    network = Converted(tmp_path, keras.Model(x, layers.Concatenate()([boxes, scores, tiny])))
    assert prove(network.reference, onnx=network.file, device="cpu")["weak"] == {}
    for place, by in ((1, 0.5), (5, 1e-3), (8, 1e-8)):
        network.refuses(after("Add", by * (np.arange(9) == place).astype("float32")))
