"""Outputs that no input moves: larger inputs and weights are tried, and what stays unmoved is called weak."""

from typing import Any

import keras
import numpy as np
import onnx
import pytest
from keras import layers

import export
from export.engines import tensorflow
from export.proof.prove import measure_difference, prove
from tests.export.mutants import Converted, after, column, of_weights

pytestmark = pytest.mark.usefixtures("in_this_process")


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
    convert = tensorflow.convert_endpoint

    def convert_wrongly(endpoint: Any, opset: int) -> Any:
        model = convert(endpoint, opset)
        next(node for node in model.graph.node if node.op_type == "Sigmoid").op_type = "HardSigmoid"
        return model

    monkeypatch.setattr(tensorflow, "convert_endpoint", convert_wrongly)
    with pytest.raises(export.ParityError, match="weights|differ by at most"):
        export.export(vanishing(), tmp_path / "b", formats="onnx", batch_sizes=(1, 2, 7))


def test_a_saturated_sigmoid_passes(tmp_path):
    x = keras.Input((4,))
    bias = keras.initializers.Constant(-20)
    network = Converted(tmp_path, keras.Model(x, layers.Dense(3, "sigmoid", bias_initializer=bias)(x)))
    assert prove(network.reference, onnx=network.file, device="cpu")["weak"] == {}
    # A SavedModel alone does not tell what is before it.
    own = network.reference.endpoint.run
    proof = prove(network.reference, saved_model=lambda x: {name: 0 * y for name, y in own(x).items()})
    assert list(proof["weak"]) == list(network.reference.endpoint.outputs)
    # Behind it nothing is to be seen, before it everything.
    network.refuses(of_weights((4, 3), column(1, lambda w: 1.01 * w)))


def test_an_output_is_weak_if_only_the_logits_of_others_are_compared(tmp_path):
    x = keras.Input((3,))
    outputs = [layers.Dense(3, "softmax")(x), layers.Activation("sigmoid")(x)]
    network = Converted(tmp_path, keras.Model(x, outputs))
    weak = prove(network.reference, onnx=network.file, device="cpu")["weak"]
    assert weak == {network.reference.endpoint.outputs[1]: "The graph does not show the input of its activation."}


def test_infinity_is_no_difference_that_a_quantised_file_may_have(tmp_path):
    x = keras.Input((4,))
    network = Converted(tmp_path, keras.Model(x, layers.Dense(3)(x)))
    file = onnx.load(network.file)
    for value in file.graph.initializer:
        array = onnx.numpy_helper.to_array(value).copy()
        array[array.ndim * (0,)] = np.inf
        value.CopyFrom(onnx.numpy_helper.from_array(array, value.name))
    onnx.save(file, network.file)
    with pytest.raises(export.ParityError, match="to give infinity only where Keras does"):
        measure_difference(network.reference, network.file, "cpu")
