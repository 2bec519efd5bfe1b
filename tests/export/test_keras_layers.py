"""Every layer and every activation that Keras has, in ONNX, or the sentence that refuses it."""

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import onnxruntime
import pytest
from keras import activations, layers, ops

import export
from tests.export.models import Function, randomise
from tests.sweep import sweep

pytestmark = pytest.mark.usefixtures("in_this_process")

Branches = dict[str, Callable[[Any], Any]]

# What only training does, and passes everything on at inference.
TRAINING_ONLY: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("ActivityRegularization", "AugMix", "CutMix", "MixUp", "RandAugment", "RandomErasing"), {}),
    **dict.fromkeys(("RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomInvert", "RandomPerspective"), {}),
    **dict.fromkeys(("AlphaDropout", "Dropout", "GaussianDropout"), {"rate": 0.3}),
    **dict.fromkeys(("RandomBrightness", "RandomColorDegeneration", "RandomContrast", "RandomHue"), {"factor": 0.1}),
    **dict.fromkeys(("RandomRotation", "RandomSaturation", "RandomSharpness"), {"factor": 0.1}),
    "GaussianNoise": {"stddev": 1.0},
    "RandomColorJitter": {"brightness_factor": 0.1},
    "RandomElasticTransform": {},
    "RandomPosterization": {"factor": 4},
    "RandomShear": {"x_factor": 0.1},
    "RandomTranslation": {"height_factor": 0.1, "width_factor": 0.1},
    "RandomZoom": {"height_factor": 0.1},
}
# Hashes have no operation in ONNX; text is no number.
REFUSED: dict[str, tuple[Callable[[], keras.Model], str]] = {
    "Hashing": (lambda: on(layers.Hashing(4), (3,), "int32"), "StringToHashBucketFast"),
    "HashedCrossing": (lambda: on(layers.HashedCrossing(4), [(1,), (1,)], "int32"), "SparseCross"),
    "IntegerLookup": (
        lambda: on(layers.IntegerLookup(num_oov_indices=2, oov_method="farmhash", vocabulary=[1, 3]), (3,), "int64"),
        "StringToHashBucketFast .*integer_lookup",
    ),
    "StringLookup": (
        lambda: on(layers.StringLookup(num_oov_indices=2, vocabulary=["a"]), (3,), "string"),
        "StringToHashBucketFast .*string_lookup",
    ),
    "TextVectorization": (
        lambda: on(layers.TextVectorization(vocabulary=["a"]), (1,), "string"),
        "StaticRegexReplace .*text_vectorization",
    ),
}
# Code of others; classes to derive from; what Keras itself cannot put into a functional model, or takes boxes.
FOREIGN = ("FlaxLayer", "JaxLayer", "Lambda", "TFSMLayer", "TorchModuleWrapper")
ABSTRACT = ("InputLayer", "Layer", "RNN", "Wrapper")
OTHERS = ("ContrastLimitedAdaptiveHistogramEqualization", "Equalization", "MaxNumBoundingBoxes")


def named(names: str, *arguments: Any, **options: Any) -> Branches:
    """Layers of several classes with the same arguments."""
    told = "".join(f" {value}" for value in (*arguments, *(f"{key}={value}" for key, value in options.items())))
    return {name + told: getattr(layers, name)(*arguments, **options) for name in names.split()}


def of_rank(d: int) -> Branches:
    """What sequences, images and volumes have in common."""
    found = named(f"Conv{d}D", 2, 2, dilation_rate=2) | named(f"Conv{d}D", 4, 3, groups=2)
    for padding in ("valid", "same"):
        found |= named(f"Conv{d}D Conv{d}DTranspose", 3, 3, strides=2, padding=padding)
        found |= named(f"MaxPooling{d}D AveragePooling{d}D", 2, padding=padding)
    found |= named(f"AdaptiveAveragePooling{d}D AdaptiveMaxPooling{d}D", 2)
    found |= named(f"GlobalMaxPooling{d}D GlobalAveragePooling{d}D", keepdims=True)
    found |= named(f"Cropping{d}D ZeroPadding{d}D", 1) | named(f"UpSampling{d}D", 2)
    return found | named(f"SpatialDropout{d}D", 0.5)


def vectors() -> Branches:
    others = ("deserialize", "get", "serialize", "threshold")
    found: Branches = {
        name: layers.Activation(getattr(activations, name))
        for name in dir(activations)
        if inspect.isfunction(getattr(activations, name)) and name not in others
    }
    found["threshold"] = lambda x: activations.threshold(x, 0.1, -1.0)
    found["gelu approximately"] = lambda x: activations.gelu(x, approximate=True)
    found |= named("Dense RepeatVector", 3) | named("ELU LeakyReLU PReLU Softmax Identity Flatten")
    found |= named("Activation", "gelu") | named("ReLU", 6.0, 0.1, 0.2)
    found |= named("Discretization", [-0.5, 0.0, 1.0]) | named("Discretization", [-0.5, 0.0], output_mode="multi_hot")
    return found | {
        "argmax": lambda x: ops.argmax(x, axis=1),
        "argmin": lambda x: ops.argmin(x, axis=-1),
        "signbit": ops.signbit,
        "expm1": ops.expm1,
        "log1p": lambda x: ops.log1p(ops.abs(x)),
        "logaddexp": lambda x: ops.logaddexp(x, -x),
    }


def sequences() -> Branches:
    found = of_rank(1) | named("Conv1D", 3, 3, padding="causal") | named("Permute", (2, 1)) | named("Softmax", axis=1)
    found |= named("SeparableConv1D", 3, 3) | named("DepthwiseConv1D", 3, depth_multiplier=2)
    found |= named("LSTM GRU", 5) | named("SimpleRNN", 5, activation="relu") | named("GRU", 5, unroll=True)
    found |= named("LSTM", 5, return_sequences=True, go_backwards=True)
    found["Bidirectional SimpleRNN"] = layers.Bidirectional(layers.SimpleRNN(5, return_sequences=True))
    found["Masking LSTM"] = lambda x: layers.LSTM(5)(layers.Masking()(x))
    cells = [layers.LSTMCell(3), layers.GRUCell(4), layers.SimpleRNNCell(2)]
    attention, grouped = layers.MultiHeadAttention(2, 3), layers.GroupQueryAttention(4, 4, 2)
    return found | {
        "GRU before the reset": layers.GRU(5, reset_after=False),
        "StackedRNNCells": layers.RNN(layers.StackedRNNCells(cells)),
        "EinsumDense": layers.EinsumDense("abc,cd->abd", output_shape=(None, 5), bias_axes="d"),
        "Dot": lambda x: layers.Dot(axes=2, normalize=True)([x, x]),
        "Attention": lambda x: layers.Attention(use_scale=True)([x, x]),
        "AdditiveAttention": lambda x: layers.AdditiveAttention()([x, x]),
        "MultiHeadAttention": lambda x: attention(x, x, use_causal_mask=True),
        "GroupQueryAttention": lambda x: grouped(x, x),
        "STFTSpectrogram": layers.STFTSpectrogram(frame_length=4, frame_step=2),
    }


def recurrent() -> Branches:
    """LSTM, GRU and SimpleRNN with each option; `sequences` has each layer and each option once."""
    found: Branches = {}
    for name in ("LSTM", "GRU", "SimpleRNN"):
        found |= named(name, 5) | named(name, 5, activation="relu") | named(name, 5, unroll=True)
        found |= named(name, 5, return_sequences=True, go_backwards=True)
        found[f"Bidirectional {name}"] = layers.Bidirectional(getattr(layers, name)(5, return_sequences=True))
        found[f"Masking {name}"] = lambda x, name=name: getattr(layers, name)(5)(layers.Masking()(x))
    return found


def images() -> Branches:
    adapted = layers.Normalization()
    adapted.adapt(np.random.default_rng(0).normal(2, 3, (20, 8, 8, 4)).astype("float32"))
    found = of_rank(2) | named("BatchNormalization LayerNormalization UnitNormalization RMSNormalization Flatten")
    found |= named("SeparableConv2D", 3, 3) | named("DepthwiseConv2D", 3, depth_multiplier=2)
    found |= named("Normalization", mean=[0.1, 0.2, 0.3, 0.4], variance=[1.0, 2.0, 3.0, 4.0])
    found |= named("Normalization", mean=0.1, variance=2.0, axis=None, invert=True)
    found |= named("GroupNormalization", 2) | named("LayerNormalization", axis=[1, 2, 3]) | named("Reshape", (-1, 2))
    found |= named("Rescaling", 1 / 255, -0.5) | named("PReLU", shared_axes=[1, 2]) | named("Permute", (3, 1, 2))
    found |= named("Resizing", 12, 10) | named("Resizing", 5, 3) | named("Resizing", 12, 10, interpolation="nearest")
    found |= named("Resizing", 4, 6, crop_to_aspect_ratio=True) | named("Resizing", 12, 10, pad_to_aspect_ratio=True)
    found |= (
        named("UpSampling2D", 2, interpolation="bilinear") | named("CenterCrop", 4, 6) | named("CenterCrop", 12, 12)
    )
    for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"):
        found[name] = lambda x, name=name: getattr(layers, name)()([x, layers.Conv2D(4, 1)(x)])
    return found | {
        "Normalization adapted": adapted,
        "SpectralNormalization": layers.SpectralNormalization(layers.Conv2D(3, 3)),
        "TimeDistributed": layers.TimeDistributed(layers.Conv1D(3, 3)),
        "ConvLSTM1D": layers.ConvLSTM1D(3, 2),
        "slices": lambda x: x[:, 1:5, ::2, :2],
    }


def volumes() -> Branches:
    return of_rank(3) | named("ConvLSTM2D", 3, 2)


def films() -> Branches:
    return named("ConvLSTM3D", 3, 2)


def photos() -> Branches:
    found = {name: getattr(layers, name)(**options) for name, options in TRAINING_ONLY.items()}
    found |= named("RandomCrop", 4, 6) | named("Solarization AutoContrast")
    return found | {"Pipeline": layers.Pipeline([layers.RandomFlip(), layers.Rescaling(1 / 255)])}


def sounds() -> Branches:
    return named("MelSpectrogram", fft_length=64) | named("MelSpectrogram", 50, 20, power_to_db=False)


def tokens() -> Branches:
    found = named("CategoryEncoding", 7) | named("CategoryEncoding", 7, output_mode="count")
    embedding, tied = layers.Embedding(7, 4, mask_zero=True), layers.ReversibleEmbedding(7, 4)
    attention = layers.MultiHeadAttention(2, 3)
    return found | {
        "masked GRU": lambda x: layers.GRU(5)(embedding(x)),
        "Embedding": embedding,
        "ReversibleEmbedding": lambda x: tied(tied(x), reverse=True),
        "masked MultiHeadAttention": lambda x: attention(embedding(x), embedding(x)),
    }


KINDS: dict[Callable[[], Branches], tuple[int, ...]] = {
    vectors: (6,),
    sequences: (6, 4),
    recurrent: (6, 4),
    images: (8, 8, 4),
    volumes: (4, 6, 6, 4),
    films: (3, 4, 4, 4, 2),
    photos: (8, 8, 3),
    sounds: (200,),
    tokens: (6,),
}


def network(kind: Callable[[], Branches]) -> keras.Model:
    """A network with an output for each layer."""
    inputs = keras.Input(KINDS[kind], dtype="int32" if kind is tokens else "float32", name="input")
    outputs = {f"y{i}": layer(inputs) for i, layer in enumerate(kind().values())}
    return randomise(keras.Model(inputs, outputs))


def examples(kind: Callable[[], Branches]) -> np.ndarray:
    generator = np.random.default_rng(1)
    if kind is tokens:
        return generator.integers(0, 7, (3, 6)).astype("int32")
    x = generator.normal(size=(3, *KINDS[kind])).astype("float32")
    # Keras counts -0 as less than 0.
    x.reshape(3, -1)[0, :2] = 0.0, -0.0
    return x


# What tf2onnx lacks, and is written here, is among the vectors.
WAYS = [*((kind, 17) for kind in KINDS), (vectors, 13), (vectors, 18)]


@pytest.mark.parametrize(
    "way",
    sweep(WAYS, lambda way: way not in ((recurrent, 17), (vectors, 17))),
    ids=lambda way: f"{way[0].__name__}-{way[1]}",
)
def test_every_layer_computes_in_onnx_what_it_computes_in_keras(way, tmp_path):
    kind, opset = way
    model, x = network(kind), examples(kind)
    path = export.to_onnx(model, tmp_path / "model.onnx", opset=opset, samples=x if kind is tokens else None)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    received = dict(zip(names, session.run(None, {"input": x}), strict=True))
    expected = {name: np.asarray(y) for name, y in model(x, training=False).items()}
    for i, layer in enumerate(kind()):
        y, z = expected[f"y{i}"], received[f"y{i}"]
        assert (z.shape, z.dtype) == (y.shape, y.dtype), layer
        scale = max(1.0, float(np.max(np.abs(y))))
        np.testing.assert_allclose(z, y, rtol=0, atol=1e-5 * scale, err_msg=layer)


def classes() -> set[str]:
    """Layers that Keras has, under the name of the class."""
    found = [getattr(layers, name) for name in dir(layers)]
    return {x.__name__ for x in found if inspect.isclass(x) and issubclass(x, keras.Layer)}


def test_no_layer_of_keras_is_left_out():
    seen = {type(layer).__name__ for kind in KINDS.keys() - {recurrent} for layer in network(kind)._flatten_layers()}
    assert classes() - seen - {*REFUSED, *FOREIGN, *ABSTRACT, *OTHERS} == set()


def on(layer: keras.Layer, shape: Any, dtype: str) -> keras.Model:
    """A network of one layer."""
    shapes = shape if isinstance(shape, list) else [shape]
    inputs = [keras.Input(s, dtype=dtype) for s in shapes]
    return keras.Model(inputs, layer(inputs if isinstance(shape, list) else inputs[0]))


@pytest.mark.parametrize("name", REFUSED)
def test_what_onnx_has_no_operation_for_is_refused_by_its_name(name, tmp_path):
    make, sentence = REFUSED[name]
    model = make()
    texts = np.full((2, model.inputs[0].shape[1]), "b") if model.inputs[0].dtype == "string" else None
    with pytest.raises(export.ExportError, match=f"Expected .*{sentence}"):
        export.to_onnx(model, tmp_path / "model.onnx", samples=texts)
    assert list(tmp_path.iterdir()) == []


class Counter(keras.Layer):
    """Counts its calls in a weight."""

    def build(self, _: Any) -> None:
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")

    def call(self, x: Any) -> Any:
        self.calls.assign_add(1)
        return x * self.calls


def test_a_layer_that_changes_a_weight_whenever_it_is_called_is_refused(tmp_path):
    with pytest.raises(
        export.ExportError, match="whose calls change no weights. Received: .*, which changes counter/calls"
    ):
        export.to_onnx(on(Counter(name="counter"), (3,), "float32"), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_is_random_at_inference_is_refused(tmp_path):
    model = on(Function(lambda x: keras.random.dropout(x, 0.5)), (3,), "float32")
    with pytest.raises(export.ExportError, match="Received: StatelessRandomUniform"):
        export.to_onnx(model, tmp_path / "model.onnx")
