"""Whether the examples of a batch are independent, of functions and on real inputs."""

import keras
import numpy as np
from keras import ops

from export.model.wrapping import make_endpoint
from export.proof.reference import compute_reference
from tests.export.models import Function


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
