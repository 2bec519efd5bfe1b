"""Parameters and multiply-adds: the catalogue's against the built networks, the papers' and TensorFlow's own graphs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from keras_skip import ExpandStreams, HyperConnection, RecurrentHighway, ReduceStreams
from tests.sweep import first_of_each_kind, sweep
from zoo.networks.catalogue import MODELS
from zoo.networks.counting import count, multiply_adds
from zoo.networks.imagenet import densenet

# Of each form the network with the fewest parameters, unless it is very deep; `make test-all` builds all of them.
SMALLEST = first_of_each_kind(
    MODELS,
    lambda name: (MODELS[name].family.builder, *sorted(MODELS[name].arguments)),
    lambda name: MODELS[name].parameters,
)
IN_SHORT = {name for name in SMALLEST if MODELS[name].arguments.get("depth", 0) < 100}
DEEP = [name for name, entry in MODELS.items() if entry.arguments.get("depth", 0) > 300]


@pytest.mark.parametrize("name", sweep(MODELS, IN_SHORT))
def test_every_network_has_the_parameters_of_the_catalogue(name):
    model = zoo.build(name)
    assert model.name == name
    entry = MODELS[name]
    cost = entry.multiply_adds if name in DEEP else multiply_adds(model)
    counted = count(model.trainable_variables), count(model.non_trainable_variables), cost
    assert counted == (entry.parameters, entry.non_trainable, entry.multiply_adds)


@pytest.mark.parametrize("depth", [121, 161, 169, 201])
def test_the_layers_of_a_densenet_add_up_to_its_parameters(depth, monkeypatch):
    entry = MODELS[f"densenet{depth}"]
    monkeypatch.setattr(densenet, "dense_network", lambda image, counts, *others: (counts, others[6]))
    counts, k = entry.family.builder(**entry.arguments)
    channels = 2 * k
    parameters = 7 * 7 * 3 * channels + 2 * channels
    for place, layers in enumerate(counts):
        for _ in range(layers):
            parameters += 2 * channels + channels * 4 * k + 2 * 4 * k + 9 * 4 * k * k
            channels += k
        if place < 3:
            parameters += 2 * channels + channels * (channels // 2)
            channels //= 2
    assert parameters + 2 * channels + (channels + 1) * 1000 == entry.parameters


@pytest.mark.complete
@pytest.mark.parametrize("name", DEEP)
def test_very_deep_networks_have_the_multiply_adds_of_the_catalogue(name):
    assert multiply_adds(zoo.build(name)) == MODELS[name].multiply_adds


# Of depth n, each further block of a stage costs the same.
@pytest.mark.parametrize("name", DEEP)
def test_multiply_adds_of_very_deep_networks_grow_by_the_block(name):
    depth = MODELS[name].arguments["depth"]
    step = 9 if "preact" in name else 6
    shallow, deeper = (multiply_adds(zoo.build(name, depth=depth % step + n * step)) for n in (1, 2))
    blocks = depth // step
    assert MODELS[name].multiply_adds == shallow + (blocks - 1) * (deeper - shallow)


# As torchvision's documentation gives them ("GFLOPS", of multiply-adds) and the papers of the others.
PUBLISHED = {
    "resnet18": (1.81e9, 0.01e9),
    "resnet34": (3.66e9, 0.01e9),
    "resnet50": (4.09e9, 0.01e9),
    "resnet101": (7.80e9, 0.01e9),
    "resnet152": (11.51e9, 0.01e9),
    "wide_resnet50_2": (11.40e9, 0.01e9),
    "wide_resnet101_2": (22.75e9, 0.01e9),
    "resnext50_32x4d": (4.23e9, 0.01e9),
    "resnext101_32x8d": (16.41e9, 0.01e9),
    "resnext101_64x4d": (15.46e9, 0.01e9),
    "densenet121": (2.83e9, 0.01e9),
    "densenet161": (7.73e9, 0.01e9),
    "densenet169": (3.36e9, 0.01e9),
    "densenet201": (4.29e9, 0.01e9),
    "r3d_18": (40.697e9, 0.001e9),
    "mc3_18": (43.343e9, 0.001e9),
    "r2plus1d_18": (40.519e9, 0.001e9),
    # The residual paper's table: 3.8, 7.6 and 11.3, the first rounded down.
    "resnet50_keras": (3.8e9, 0.06e9),
    "resnet101_keras": (7.6e9, 0.05e9),
    "resnet152_keras": (11.3e9, 0.05e9),
    "convnext_tiny": (4.5e9, 0.05e9),
    "convnext_small": (8.7e9, 0.05e9),
    "convnext_base": (15.4e9, 0.05e9),
    "wrn_28_10": (5.24e9, 0.01e9),
    "resnet110": (253e6, 2e6),
    # The densely connected paper's figure.
    "densenet_bc_100_12": (0.29e9, 0.01e9),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_multiply_adds_are_the_published_ones(name):
    published, tolerance = PUBLISHED[name]
    assert MODELS[name].multiply_adds == pytest.approx(published, abs=tolerance)


def test_resnet20_with_projections_has_the_40_8_million_that_are_quoted():
    assert multiply_adds(zoo.build("resnet20", shortcut="projection")) == 40_813_184


def in_the_graph(model, shape):
    """Multiply-adds by the operations of TensorFlow's graph, which knows no layers."""
    forward = tf.function(lambda x: model(x, training=False))
    graph = forward.get_concrete_function(tf.TensorSpec((1, *shape))).graph
    total = 0
    for operation in graph.get_operations():
        assert "Conv" not in operation.type or operation.type in ("Conv2D", "Conv3D")
        if operation.type in ("Conv2D", "Conv3D", "MatMul"):
            kernel = operation.inputs[1].shape
            total += int(np.prod(operation.outputs[0].shape[:-1]) * np.prod(kernel))
    return total


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("dense_mlp", {}),
        ("highway_mlp", {}),
        ("resnet20", {"depth": 8}),
        ("stochastic_resnet110", {"depth": 8}),
        ("preact_resnet164", {"depth": 11}),
        ("wrn_16_2", {"depth": 10, "dropout": 0.3}),
        ("airbench96", {"widths": (8, 12, 16)}),
        ("densenet_bc_100_12", {"depth": 10}),
        ("highway19_carry", {}),
        ("highway_mnist_16", {}),
        ("stack_convnet", {"depth": 1}),
        ("stack_mlp", {"depth": 2, "skip": "hyper", "constraint": None}),
        ("resnet50", {"depth": 14}),
        ("r2plus1d_18", {"depth": 10}),
        ("resnet9", {}),
        ("tabular_resnet", {"categories": (3, 12)}),
        ("tabular_highway", {}),
        ("tabular_densenet", {}),
    ],
)
def test_multiply_adds_are_those_of_the_graph(name, arguments):
    model = zoo.build(name, **arguments)
    assert multiply_adds(model) == in_the_graph(model, MODELS[name].family.input_shape)


def test_input_shape_and_the_order_of_the_axes():
    assert multiply_adds(zoo.build("resnet20", (None, None, 3)), (32, 32, 3)) == MODELS["resnet20"].multiply_adds
    keras.config.set_image_data_format("channels_first")
    try:
        model = zoo.build("resnet20")
    finally:
        keras.config.set_image_data_format("channels_last")
    assert multiply_adds(model) == MODELS["resnet20"].multiply_adds


def test_shared_grouped_depthwise_and_transposed_layers_by_arithmetic():
    image = keras.Input((8, 6, 4))
    shared = keras.layers.Conv2D(4, 3, padding="same")
    x = shared(shared(image))
    x = keras.layers.Conv2D(8, 3, strides=2, groups=2, padding="same")(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
    x = keras.layers.Conv2DTranspose(5, 2, strides=2)(x)
    model = keras.Model(image, keras.layers.Dense(7)(x))
    wanted = 2 * (48 * 9 * 4 * 4) + 12 * 9 * 2 * 8 + 12 * 9 * 16 + 12 * 4 * 16 * 5 + 48 * 5 * 7
    assert multiply_adds(model) == wanted
    assert multiply_adds(model) == wanted, "counting leaves the layers as they were"
    assert "call" not in vars(shared)


def test_einsum_layers_by_arithmetic():
    sequence = keras.Input((5, 4))
    x = keras.layers.EinsumDense("...p,pq->...q", 6)(sequence)
    x = keras.layers.EinsumDense("btp,phd->bthd", (5, 3, 2), bias_axes="thd")(x)
    x = keras.layers.EinsumDense("bthd,hd->bth", (5, 3))(x)
    assert multiply_adds(keras.Model(sequence, x)) == 5 * 4 * 6 + 5 * 6 * 3 * 2 + 5 * 3 * 2


@pytest.mark.parametrize(
    ("options", "of_weights"),
    [
        # At each of five positions, from all three streams of 4 to 3 + 3 + 3! logits, or from each stream to 1 + 1 + 3.
        ({"constraint": "birkhoff"}, 5 * 12 * (3 + 3 + 6)),
        ({"constraint": None}, 5 * 3 * 4 * (1 + 1 + 3)),
        ({"dynamic": False}, 0),
    ],
)
def test_hyper_connections_by_arithmetic(options, of_weights):
    sequence = keras.Input((5, 4))
    streams = HyperConnection(keras.layers.Dense(4), 3, **options)(ExpandStreams(3)(sequence))
    assert multiply_adds(keras.Model(sequence, ReduceStreams()(streams))) == of_weights + 5 * 4 * 4


@pytest.mark.parametrize(
    ("layer", "of_a_step"),
    [
        (keras.layers.SimpleRNN(3), (4 + 3) * 3),
        (keras.layers.LSTM(3, return_sequences=True), (4 + 3) * 4 * 3),
        (keras.layers.GRU(3), (4 + 3) * 3 * 3),
        (keras.layers.GRU(3, unroll=True), (4 + 3) * 3 * 3),
        (keras.layers.RNN([keras.layers.LSTMCell(3), keras.layers.GRUCell(2)]), 7 * 4 * 3 + 5 * 3 * 2),
        (keras.layers.Bidirectional(keras.layers.GRU(3)), 2 * (4 + 3) * 3 * 3),
        (RecurrentHighway(3, depth=2, carry="coupled"), (4 + 2 * 3) * 2 * 3),
        (RecurrentHighway(3, depth=2), (4 + 2 * 3) * 3 * 3),
    ],
)
def test_recurrent_layers_by_arithmetic(layer, of_a_step):
    sequence = keras.Input((5, 4))
    model = keras.Model(sequence, layer(sequence))
    assert multiply_adds(model) == multiply_adds(model) == 5 * of_a_step
    layer.trainable = False
    assert multiply_adds(model) == 5 * of_a_step


def test_embeddings_cost_nothing_but_in_reverse():
    tokens = keras.Input((5,), dtype="int32")
    embedding = keras.layers.ReversibleEmbedding(11, 4)
    x = embedding(tokens) + keras.layers.Embedding(11, 4)(tokens)
    assert multiply_adds(keras.Model(tokens, x)) == 0
    assert multiply_adds(keras.Model(tokens, embedding(x, reverse=True))) == 5 * 4 * 11


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: zoo.build("resnet20", (None, None, 3)), r"fixed sizes\. Received: input_shape=\(None, None, 3\)"),
        (lambda: keras.Sequential([keras.Input((5, 4, 3)), keras.layers.ConvLSTM1D(2, 1)]), "embedding and recurrent"),
        (lambda: keras.Sequential([keras.layers.Dense(2)]), "a built model with one input"),
    ],
)
def test_what_cannot_be_counted_is_refused(make, said):
    with pytest.raises(ValueError, match=f"Expected .*{said}"):
        multiply_adds(make())
