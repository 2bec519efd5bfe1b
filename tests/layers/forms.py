"""Functional models with every form of skip, and the names of their sums."""

import keras
import numpy as np
from keras import layers as L
from keras import ops


def numpy(x):
    return np.array(ops.convert_to_numpy(x))


def dense(x, units=4, **options):
    return L.Dense(units, kernel_initializer=keras.initializers.RandomNormal(stddev=1.0), **options)(x)


def identity():
    x = keras.Input((4,))
    return keras.Model(x, L.Add(name="sum")([dense(x), x])), ["sum"]


def plus():
    x = keras.Input((4,))
    y = x + dense(x)
    return keras.Model(x, dense(y, 2)), [y._keras_history.operation.name]


def projection():
    x = keras.Input((6, 6, 3))
    branch = L.Conv2D(4, 3, padding="same")(L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 3, 2, padding="same")(x))))
    return keras.Model(x, L.Add(name="sum")([L.BatchNormalization()(L.Conv2D(4, 1, 2)(x)), branch])), ["sum"]


def pooled():
    x = keras.Input((6, 6, 3))
    skip = L.Conv2D(4, 1)(L.DepthwiseConv2D(3, 2, padding="same")(x))
    branch = L.Conv2D(4, 1)(L.Conv2D(4, 3, padding="same")(L.Conv2D(4, 1, 2)(x)))
    y = L.Add(name="one")([branch, skip])
    return keras.Model(x, L.Add(name="two")([L.MaxPooling2D(1, 3)(y), L.Conv2D(4, 3)(y)])), ["one", "two"]


def preactivation():
    x = keras.Input((5, 3))
    shared = L.ReLU()(L.LayerNormalization()(x))
    y = L.Add(name="one")([dense(shared), dense(dense(shared))])
    return keras.Model(x, L.Add(name="two")([y, dense(L.ReLU()(L.LayerNormalization()(y)))])), ["one", "two"]


def three():
    x = keras.Input((4,))
    return keras.Model(x, L.Add(name="sum")([dense(x), x, dense(dense(x))])), ["sum"]


def parallel():
    x = keras.Input((4,))
    one = x + dense(x)
    two = one + dense(x)
    return keras.Model(x, two), [y._keras_history.operation.name for y in (one, two)]


def nested():
    block, _ = identity()
    inner = keras.Model(block.input, block.output, name="inner")
    x = keras.Input((4,))
    return keras.Model(x, L.Add(name="outer")([x, dense(inner(inner(x)))])), ["inner/sum", "outer"]


def sequential():
    block, _ = identity()
    inner = keras.Model(block.input, block.output, name="inner")
    within = keras.Sequential([keras.Input((4,)), inner, L.Dense(4)], name="within")
    return keras.Sequential([keras.Input((4,)), within, L.Dense(2)]), ["within/inner/sum"]


def around():
    x = keras.Input((4,))
    y = L.Add(name="first")([x, dense(x)])
    y = L.Add(name="second")([y, dense(y)])
    return keras.Model(x, L.Add(name="outer")([x, dense(y)])), ["first", "second", "outer"]


def long():
    x = keras.Input((4,))
    y = L.Add(name="first")([x, dense(x)])
    y = L.Add(name="second")([y, dense(y)])
    return keras.Model(x, L.Add(name="sum")([y, dense(x)])), ["first", "second", "sum"]


def masked():
    tokens = keras.Input((5,), dtype="int32")
    x = L.Embedding(9, 4, mask_zero=True)(tokens)
    x = L.Add(name="one")([x, dense(L.BatchNormalization()(x))])
    x = L.Add(name="two")([x, L.MultiHeadAttention(2, 2)(x, x)])
    x = L.Add(name="three")([x, dense(L.ReLU()(dense(x)))])
    return keras.Model(tokens, L.GlobalAveragePooling1D()(x)), ["one", "two", "three"]


def half():
    x = keras.Input((4,))
    y = L.Dense(4, dtype="mixed_bfloat16")(x)
    branch = L.Dense(4, dtype="mixed_bfloat16")(L.Dense(4, dtype="mixed_bfloat16")(y))
    return keras.Model(x, L.Add(name="sum", dtype="mixed_bfloat16")([y, branch])), ["sum"]


def several():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    both = a + b
    y = L.Add(name="sum")([both, dense(both)])
    return keras.Model({"a": a, "b": b}, {"sum": y, "head": dense(y, 2)}), ["sum"]


FORMS = {
    form.__name__: form
    for form in (
        *(identity, plus, projection, pooled, preactivation, three, parallel),
        *(nested, sequential, around, long, masked, half, several),
    )
}


def inputs(model, size=6):
    """Examples for a model: tokens, some of them masked, or normally distributed values."""
    random = np.random.default_rng(0)

    def draw(x):
        shape = (size, *x.shape[1:])
        if x.dtype != "int32":
            return random.normal(size=shape).astype(x.dtype)
        lengths = random.integers(1, shape[1] + 1, (size, 1))
        return (random.integers(1, 9, shape) * (np.arange(shape[1]) < lengths)).astype("int32")

    given = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.tree.map_structure(draw, given)


def outputs(model, x, **options):
    return [numpy(ops.cast(y, "float32")) for y in keras.tree.flatten(model(x, **options))]


def assert_equal(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


class Closed(L.Layer):
    """A layer of layers, which hides its skip."""

    def __init__(self, **options):
        super().__init__(**options)
        self.inner = L.Dense(4)

    def call(self, x):
        return x + self.inner(x)
