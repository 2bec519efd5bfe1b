"""Stacks of the same blocks with each kind of skip, written out with layers and NumPy, and what they share."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_skip as ks
from tests.layers.test_depth import attend, numpy
from tests.sweep import sweep

RNG = np.random.default_rng(0)
JIT = keras.backend.backend() == "jax"
# The kinds that start as a residual network.
ADAPTIVE = {
    "hyper": {},
    "hyper sinkhorn": {"constraint": "sinkhorn", "streams": 3, "iterations": 5},
    "hyper free": {"constraint": None, "dynamic": False},
    "depth_average": {},
    "depth_average dilated": {"dilation": 2},
    "depth_attention": {},
    "depth_attention in blocks": {"block_size": 2},
}
KINDS = [None, "residual", "highway", *ADAPTIVE]


def kind(name):
    """The skip and the options of an entry."""
    return {"skip": name and name.split()[0], **ADAPTIVE.get(name, {})}


def dense():
    return [[L.Dense(12, activation="gelu"), L.Dense(8)] for _ in range(3)]


def convolutions():
    return [[L.Conv2D(6, 3, padding="same", activation="relu"), L.Conv2D(8, 1)] for _ in range(3)]


def attention():
    return [L.MultiHeadAttention(2, 4), [L.Dense(16, activation="gelu"), L.Dense(8)], L.MultiHeadAttention(2, 4)]


BLOCKS = {"dense": (dense, (4, 8)), "convolutional": (convolutions, (2, 5, 4, 8)), "attention": (attention, (2, 5, 8))}


def data(*shape):
    return RNG.normal(size=shape).astype("float32")


def randomise(layers):
    for layer in layers:
        for variable in layer.weights:
            variable.assign(RNG.normal(size=variable.shape))


@pytest.mark.parametrize("name", ADAPTIVE)
@pytest.mark.parametrize("blocks", BLOCKS)
def test_at_the_start_an_adaptive_stack_is_a_residual_network(blocks, name):
    make, shape = BLOCKS[blocks]
    made, x = make(), data(*shape)
    plain = ks.stack(made)
    expected = numpy(plain(x))
    adaptive = ks.stack(made, **kind(name))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(numpy(adaptive(x)) / scale, expected / scale, rtol=0, atol=1e-6)
    learned = [layer for layer in adaptive.layers if not isinstance(layer, ks.Residual)]
    randomise(learned)
    assert np.abs(numpy(adaptive(x)) - expected).max() > 0.1 * scale


def norms(stack):
    """The norms before the blocks, in NumPy; their scales and shifts are new."""
    found = [layer.pre_norm for layer in stack.layers if isinstance(layer, ks.Residual)]
    randomise(found)

    def normalise(norm):
        gamma, beta = numpy(norm.gamma), numpy(norm.beta)

        def run(x):
            centred = x - x.mean(axis=-1, keepdims=True)
            return gamma * centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6) + beta

        return run

    return [normalise(norm) for norm in found]


def updates(stack, made):
    """The blocks with their norms, in NumPy."""

    def run(norm, block):
        def function(x):
            for layer in block:
                x = numpy(layer(norm(x) if layer is block[0] else x))
            return x

        return function

    return [run(norm, block) for norm, block in zip(norms(stack), made, strict=True)]


def test_each_kind_computes_its_equation():
    x, made = data(4, 8), dense()

    def built(skip, **options):
        stack = ks.stack(made, skip, **options)
        stack(x)
        return stack, updates(stack, made)

    def check(stack, expected):
        np.testing.assert_allclose(numpy(stack(x)), expected, rtol=1e-4, atol=1e-4)

    stack, (f, g, h) = built(None)
    check(stack, h(g(f(x))))

    stack, (f, g, h) = built("residual", branch_scale=0.5)
    y = x + 0.5 * f(x)
    y = y + 0.5 * g(y)
    check(stack, y + 0.5 * h(y))

    stack, functions = built("highway")
    y = x
    for layer, f in zip(stack.layers, functions, strict=True):
        transform, carry = (numpy(gate) for gate in layer.gate_layer.gates(y))
        y = transform * f(y) + carry * y
    check(stack, y)

    stack, functions = built("depth_average", dilation=2, period=3)
    alpha = [1.5, -0.5]
    assert [layer.name for layer in stack.layers if layer.weights and isinstance(layer, ks.DepthAverage)] == [
        stack.layers[-1].name
    ]
    stack.layers[-1].alpha.assign(alpha)
    states = [x]
    for f in functions:
        states.append(states[-1] + f(states[-1]))
    check(stack, 1.5 * states[1] - 0.5 * states[3])

    for options in ({}, {"block_size": 2, "reduction": "mean"}):
        stack, functions = built("depth_attention", **options)
        attentions = [layer for layer in stack.layers if isinstance(layer, ks.DepthAttention)]
        randomise(attentions)
        queries = [numpy(layer.query) if layer.weights else np.zeros(8) for layer in attentions]
        values = [x]
        for query, f in zip(queries, functions, strict=False):
            values.append(f(attend(values, query, **options)[0]))
        check(stack, attend(values, queries[-1], **options)[0])


@pytest.mark.once
def test_names_are_stable_and_come_from_the_name_of_the_stack():
    def names(skip, name="body"):
        return [layer.name for layer in ks.stack(dense()[:2], skip, name=name).layers]

    assert names(None) == names("residual") == names("highway") == ["body_1", "body_2"]
    assert names("depth_average") == ["body_1", "body_2", "body_1_average", "body_2_average"]
    assert names("depth_attention")[2:] == ["body_1_attention", "body_2_attention", "body_attention"]
    keras.utils.clear_session()
    assert [names("residual", None)[0] for _ in range(2)] == ["stack_1", "stack2_1"]


@pytest.mark.once
def test_options_reach_the_connections_and_a_list_has_one_for_each():
    stack = ks.stack(
        dense(),
        "depth_attention",
        norm="peri",
        normalization="rms",
        survival_prob=ks.linear_survival(0.4, 3),
        branch_scale="1/L",
        block_size=2,
        reduction="mean",
        dtype="mixed_bfloat16",
    )
    connections, others = stack.layers[:3], stack.layers[3:]
    assert [layer.survival_prob for layer in connections] == pytest.approx([0.8, 0.6, 0.4])
    for layer in connections:
        assert (layer.norm, layer.normalization, layer.branch_scale, layer.depth) == ("peri", "rms", "1/L", 3)
    assert {(layer.block_size, layer.reduction) for layer in others} == {(2, "mean")}
    assert {layer.dtype_policy.name for layer in stack.layers} == {"mixed_bfloat16"}
    first = ks.stack(dense(), "depth_attention", data_format="channels_first")
    assert {layer.data_format for layer in first.layers} == {"channels_first"}
    own = {"streams": 3, "constraint": "sinkhorn", "dynamic": False, "iterations": 7}
    expand, *connections, reduce = ks.stack(dense(), "hyper", data_format="channels_first", **own).layers
    assert [layer.index for layer in connections] == [0, 1, 2] and expand.streams == 3
    for layer in connections:
        assert {name: getattr(layer, name) for name in own} == own
    assert {layer.data_format for layer in (expand, *connections, reduce)} == {"channels_first"}


@pytest.mark.once
@pytest.mark.parametrize("skip", ["residual", "depth_average", "depth_attention"])
def test_each_call_has_the_same_weights_and_a_subclassed_model_finds_them(skip, tmp_path):
    @keras.saving.register_keras_serializable("test_stack", f"Model{skip}")
    class Model(keras.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.body = ks.stack(dense(), skip, name="body")
            self.parts = self.body.layers

        def call(self, x):
            return self.body(self.body(x))

    model, x = Model(), data(3, 8)
    y = numpy(model(x))
    count = len(model.weights)
    model(x[:2])
    assert len(model.weights) == count == len({id(v) for layer in model.body.layers for v in layer.weights}) > 0
    a, b = keras.Input((8,)), keras.Input((8,))
    twice = keras.Model([a, b], [model.body(a), model.body(b)])
    assert len(twice.weights) == count
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(numpy(keras.saving.load_model(tmp_path / "model.keras")(x)), y)


@pytest.mark.once
@pytest.mark.parametrize("skip", sweep(KINDS, lambda skip: skip in ("hyper", "depth_average", "depth_attention")))
def test_stacks_train_on_handwritten_digits_and_their_files_compute_the_same(skip, tmp_path):
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    images, labels = (digits.data / 16).astype("float32"), digits.target
    x = keras.Input((64,))
    y = ks.stack([L.Dense(16, activation="relu") for _ in range(3)], **kind(skip))(L.Dense(16)(x))
    model = keras.Model(x, L.Dense(10)(y))
    before = {v.path: numpy(v) for v in model.trainable_variables}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"], jit_compile=JIT)
    model.fit(images[:1200], labels[:1200], batch_size=50, epochs=3, verbose=0)
    assert model.evaluate(images[1200:], labels[1200:], verbose=0)[1] > 0.75
    for variable in model.trainable_variables:
        assert np.any(numpy(variable) != before[variable.path]), variable.path
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        numpy(keras.saving.load_model(tmp_path / "model.keras")(images[:9])), numpy(model(images[:9]))
    )


@pytest.mark.once
@pytest.mark.parametrize("skip", KINDS)
def test_a_mask_reaches_the_layers_and_the_output(skip):
    x = keras.Input((None, 8))
    y = ks.stack([L.MultiHeadAttention(2, 4), L.Dense(8), ks.BatchNormalization()], **kind(skip))(L.Masking()(x))
    model = keras.Model(x, L.GlobalAveragePooling1D()(y))
    randomise([layer for layer in model.layers if isinstance(layer, (ks.DepthAverage, ks.DepthAttention))])
    short = data(3, 4, 8)
    padded = np.concatenate([short, np.zeros_like(short)], axis=1)
    np.testing.assert_allclose(numpy(model(padded)), numpy(model(short)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("skip", ["residual", *ADAPTIVE])
def test_arguments_of_the_call_reach_the_layers_that_take_them(skip):
    x, context = data(2, 5, 8), data(2, 3, 8)
    attention_mask = RNG.random((2, 5, 3)) < 0.6
    blocks = [L.MultiHeadAttention(2, 4), [L.Dense(8, activation="relu")], L.Dropout(0.5)]
    plain, stack = ks.stack(blocks), ks.stack(blocks, **kind(skip))
    y = numpy(stack(x, context, attention_mask=attention_mask))
    first = ks.Residual(blocks[0], "pre")(x, context, attention_mask=attention_mask)
    expected = numpy(first + ops.relu(ks.Residual(blocks[1], "pre")(first) - first))
    expected = expected + numpy(L.LayerNormalization(epsilon=1e-6)(expected))  # dropout does nothing at inference
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(y - numpy(stack(x, context=context))).max() > 1e-3
    assert np.abs(y - numpy(plain(x, context, attention_mask=attention_mask, training=True))).max() > 1e-3
    causal = ks.stack(blocks, **kind(skip))
    changed = np.concatenate([x[:, :3], data(2, 2, 8)], axis=1)
    one, other = (numpy(causal(each, use_causal_mask=True)) for each in (x, changed))
    np.testing.assert_allclose(one[:, :3], other[:, :3], rtol=1e-5, atol=1e-6)
    mask = np.array([[True] * 3 + [False] * 2] * 2)
    one, other = (numpy(stack(each, mask=mask)) for each in (x, changed))
    np.testing.assert_allclose(one[:, :3], other[:, :3], rtol=1e-5, atol=1e-6)


@pytest.mark.once
def test_errors_say_what_a_stack_takes():
    for blocks in ([], L.Dense(8)):
        with pytest.raises(ValueError, match="Expected blocks to be a list of layers.* Received: blocks="):
            ks.stack(blocks)
    with pytest.raises(ValueError, match=r"Expected blocks\[1\] to be a layer. Received: blocks\[1\]='dense'"):
        ks.stack([L.Dense(8), "dense"])
    with pytest.raises(ValueError, match=r"one of \[None, 'residual', .*'depth_attention'\]. Received: skip='dense'"):
        ks.stack(dense(), "dense")
    with pytest.raises(
        ValueError, match="skip='depth_average' takes: dilation, period, norm,.* Received: block_size=2"
    ):
        ks.stack(dense(), "depth_average", block_size=2)
    with pytest.raises(ValueError, match=r"for each of the 3 blocks. Received: survival_prob=\[0.5, 0.5\]"):
        ks.stack(dense(), survival_prob=[0.5, 0.5])
    with pytest.raises(ValueError, match=r"Expected a layer that takes the attention_mask.*\['Dense', 'Dense'"):
        ks.stack(dense())(data(2, 5, 8), attention_mask=data(2, 5, 5) > 0)


@pytest.mark.once
@pytest.mark.parametrize("skip", [None, "residual", "depth_average", "depth_attention"])
def test_a_block_that_changes_the_shape_is_an_error_that_names_it(skip):
    wider = [L.Dense(8), [L.Dense(8), L.Dense(9)], L.Dense(9)]
    for x in (data(2, 8), keras.Input((8,))):
        with pytest.raises(
            ValueError,
            match=r"keep the shape of their input. Received: blocks\[1\], which makes \(.*, 9\) of \(.*, 8\)",
        ):
            ks.stack(wider, skip)(x)
