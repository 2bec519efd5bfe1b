"""A language model with a cache of keys and values writes what it would write if it read everything again each time."""

import keras
import numpy as np
import onnxruntime
import pytest
from keras import layers, ops

import export
from tests.export.models import randomise

pytestmark = pytest.mark.usefixtures("in_this_process")

WORDS, WIDTH, LENGTH = 12, 8, 16


class Decoder(layers.Layer):
    """One layer of attention, whose keys and values are kept between calls."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.words, self.places = layers.Embedding(WORDS, WIDTH), layers.Embedding(LENGTH, WIDTH)
        self.query, self.key, self.value = (layers.Dense(WIDTH, use_bias=False) for _ in range(3))
        self.head = layers.Dense(WORDS, use_bias=False)

    def call(self, tokens, cache, index):
        start = index[0]
        at = start + ops.arange(ops.shape(tokens)[1])
        x = self.words(tokens) + self.places(at)
        keys = ops.slice_update(cache[:, 0], [0, start, 0], self.key(x))
        values = ops.slice_update(cache[:, 1], [0, start, 0], self.value(x))
        scores = ops.matmul(self.query(x), ops.swapaxes(keys, 1, 2))
        past = ops.arange(ops.shape(cache)[2])[None] <= at[:, None]
        mixed = ops.matmul(ops.softmax(ops.where(past, scores, -1e9)), values)
        return self.head(x + mixed), ops.stack([keys, values], axis=1)


def make_step(length):
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    cache = keras.Input((2, length, WIDTH), name="cache")
    index = keras.Input((), dtype="int32", name="index")
    logits, grown = Decoder()(tokens, cache, index)
    return randomise(keras.Model([tokens, cache, index], {"logits": logits, "grown": grown}))


def read_all(weights, tokens):
    """The logits after each token, without a cache."""
    words, places, query, key, value, head = weights
    x = words[tokens] + places[: len(tokens)]
    scores = np.where(np.tri(len(tokens)) > 0, (x @ query) @ (x @ key).T, -np.inf)
    shares = np.exp(scores - scores.max(1, keepdims=True))
    return (x + shares / shares.sum(1, keepdims=True) @ (x @ value)) @ head


@pytest.mark.parametrize(("length", "opset"), [(LENGTH, 17), (None, 17), (LENGTH, 23)])
def test_a_cache_gives_the_answers_of_the_whole_text(length, opset, tmp_path):
    step = make_step(length)
    samples = {
        "tokens": np.arange(6).reshape(2, 3),
        "cache": np.zeros((2, 2, LENGTH, WIDTH), "float32"),
        "index": np.full(2, 4),
    }
    session = onnxruntime.InferenceSession(export.to_onnx(step, tmp_path / "step.onnx", samples=samples, opset=opset))
    text, cache, weights = [3, 1, 4, 1], samples["cache"][:1], step.get_weights()
    new = text
    while len(text) < 12:
        given = {"tokens": [new], "cache": cache, "index": [len(text) - len(new)]}
        logits, cache = session.run(
            ["logits", "grown"], {k: np.asarray(x, "float32" if k == "cache" else "int32") for k, x in given.items()}
        )
        np.testing.assert_allclose(logits[0], read_all(weights, text)[-len(new) :], rtol=1e-4, atol=1e-5)
        new = [int(logits[0, -1].argmax())]
        text = [*text, *new]
    assert len(set(text)) > 2
