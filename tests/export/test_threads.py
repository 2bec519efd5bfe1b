"""Exports that overlap in threads, and what else runs in the process meanwhile."""

import logging
import threading

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import tensor_util

import export
from export.model.tracing import inline_calls
from tests.export.models import mlp


def in_threads(function, count):
    """Runs function(i) in threads that start at once; gives what each returned or raised."""
    start, outcomes = threading.Barrier(count, timeout=60), [None] * count

    def run(i):
        try:
            start.wait()
            outcomes[i] = function(i)
        except Exception as error:
            outcomes[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_functions_are_inlined_in_the_thread_that_converts_alone():
    traced = tf.function(lambda x: x + float(tf.executing_eagerly()))

    def other(i):
        return float(traced(0.0))

    with inline_calls():
        assert float(traced(0.0)) == 1.0
        assert in_threads(other, 2) == [0.0, 0.0]
        assert not tf.config.functions_run_eagerly()
    assert float(traced(0.0)) == 0.0


def test_the_callers_own_switch_still_counts():
    traced = tf.function(lambda: float(tf.executing_eagerly()))
    with inline_calls():
        pass
    tf.config.run_functions_eagerly(True)
    try:
        assert float(traced()) == 1.0
    finally:
        tf.config.run_functions_eagerly(False)


def test_exports_in_threads_succeed_and_leave_the_process_as_it_was(tmp_path):
    model, logger = mlp(), logging.getLogger("tf2onnx")
    before = tensor_util.make_tensor_proto, logger.propagate, list(logger.handlers)
    artifacts = in_threads(lambda i: export.export(model, tmp_path / f"{i}", batch_sizes=(1, 2), device="cpu"), 3)
    assert not tf.config.functions_run_eagerly()
    assert (tensor_util.make_tensor_proto, logger.propagate, logger.handlers) == before
    x = np.random.default_rng(0).normal(size=(3, 6)).astype("float32")
    for artifact in artifacts:
        assert isinstance(artifact, export.Artifact), artifact
        np.testing.assert_allclose(export.load(artifact.path)(x), np.asarray(model(x)), atol=1e-5)
