"""Models that Keras has quantised, and models with LoRA: each is exported right, or refused by its layer's name."""

import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from keras import layers, quantizers
from keras.src.quantizers.awq import AWQ
from keras.src.quantizers.gptq import GPTQ

import export
from tests.export.models import randomise
from zoo.training.learner import precision

pytestmark = pytest.mark.usefixtures("in_this_process")

Make = Callable[[], keras.Model]


def of_vectors() -> keras.Model:
    """Its first matrix is above 64 kB, which goes past the converter."""
    x = keras.Input((80,), name="x")
    return randomise(keras.Model(x, layers.Dense(4)(layers.Dense(896, "relu", name="wide")(x))))


def of_tokens() -> keras.Model:
    tokens = keras.Input((6,), dtype="int32", name="x")
    tied = layers.ReversibleEmbedding(30, 16)
    y = layers.EinsumDense("abc,cd->abd", (6, 16), activation="relu", bias_axes="d")(tied(tokens))
    return randomise(keras.Model(tokens, tied(layers.MultiHeadAttention(2, 8)(y, y), reverse=True)))


def of_rows() -> keras.Model:
    tokens = keras.Input((6,), dtype="int32", name="x")
    return randomise(keras.Model(tokens, layers.EinsumDense("abc,cd->abd", (6, 5))(layers.Embedding(30, 16)(tokens))))


def of_images() -> keras.Model:
    x = keras.Input((8, 8, 3), name="x")
    return randomise(keras.Model(x, layers.Conv2D(4, 3)(x)))


def quantised(make: Make, how: Any, policy: str = "float32") -> keras.Model:
    with precision(policy):
        model = make()
    with warnings.catch_warnings():
        # Keras warns of layers that have nothing to quantise.
        warnings.simplefilter("ignore")
        model.quantize(how) if isinstance(how, str) else model.quantize(config=how)
    return model


def calibrated(method: type, config: Any) -> keras.Model:
    """Quantises the large layer on random inputs, as Keras does block by block."""
    model = of_vectors()
    layer, x = model.get_layer("wide"), keras.random.normal((50, 80), seed=0)
    layer.quantize(config.mode, config=config)
    own = method(layer, config)
    if method is GPTQ:
        own.update_hessian_with_batch(x)
        own.quantize_and_correct_layer()
    else:
        own.update_activation_magnitudes(x)
        own.quantize_layer()
    return model


def with_lora(make: Make) -> keras.Model:
    model = make()
    for layer in model.layers[1:]:
        if hasattr(layer, "enable_lora"):
            layer.enable_lora(2)
    return randomise(model, seed=1)


BY_TEXT: dict[str, Any] = {"dataset": ["text"], "tokenizer": SimpleNamespace(), "group_size": 16}
WEIGHTS_ALONE = quantizers.Int8QuantizationConfig(activation_quantizer=None)
MODELS: dict[str, Make] = {
    "int8": lambda: quantised(of_vectors, "int8"),
    "int8 of mixed precision": lambda: quantised(of_vectors, "int8", "mixed_bfloat16"),
    "int8 of tokens": lambda: quantised(of_tokens, "int8"),
    "int8 of weights": lambda: quantised(of_vectors, WEIGHTS_ALONE),
    "int4": lambda: quantised(of_vectors, "int4"),
    "int4 of tokens": lambda: quantised(of_tokens, "int4"),
    "int4 in blocks": lambda: quantised(of_vectors, quantizers.Int4QuantizationConfig(block_size=16)),
    "GPTQ": lambda: calibrated(GPTQ, quantizers.GPTQConfig(**BY_TEXT)),
    "AWQ": lambda: calibrated(AWQ, quantizers.AWQConfig(**BY_TEXT)),
    "LoRA": lambda: with_lora(of_vectors),
    "LoRA of rows": lambda: with_lora(of_rows),
    "LoRA of images": lambda: with_lora(of_images),
    "LoRA and int8": lambda: quantised(lambda: with_lora(of_vectors), "int8"),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_quantised_model_computes_what_it_computes_in_keras(name, tmp_path):
    model = MODELS[name]()
    x = np.random.default_rng(0).uniform(0, 30, (3, *model.input_shape[1:])).astype(model.inputs[0].dtype)
    path = export.to_onnx(model, tmp_path / "m.onnx")
    (received,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    expected = np.asarray(keras.ops.cast(model(x), "float32"))
    share = 0.02 if "mixed" in name else 1e-5
    np.testing.assert_allclose(received, expected, rtol=0, atol=share * np.max(np.abs(expected)))
    # Where Keras scales the inputs too, it multiplies integers. It widens other weights, and so does the file.
    operations = {node.op_type for node in onnx.load(path).graph.node}
    assert ("MatMulInteger" in operations) == ("int8" in name and "weights" not in name)


def test_float8_is_refused_by_the_name_of_its_layer(tmp_path):
    with pytest.raises(export.ExportError, match="Expected a model without float8, .* Received: Cast .*wide"):
        export.to_onnx(quantised(of_vectors, "float8"), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []
