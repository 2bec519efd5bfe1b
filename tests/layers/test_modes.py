"""A layer learns the same whatever runs it: eagerly, traced, several steps at once, by XLA, on several devices."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.layers.table import CASES, REPRESENTATIVES, SENSITIVE_TO_TRACING, USUAL, Case, draws, sweep_layers
from tests.processes import run_code

BACKEND = keras.backend.backend()
STEPS = 4
# On JAX, an eager step compiles each of its hundreds of operations.
ON_JAX = ("hyper-connection-free", "recurrent-highway", "skip-attention", "stochastic-depth")
IN_SHORT = (
    SENSITIVE_TO_TRACING if BACKEND == "tensorflow" else [case for case in SENSITIVE_TO_TRACING if case.name in ON_JAX]
)


def learned(case: Case, **how) -> list[np.ndarray]:
    """All that a model holds after some steps; a dense layer before the block learns from the gradient of its input."""
    keras.utils.set_random_seed(3)
    x = case.data(4 * STEPS)
    layer = case.make()
    model = keras.Sequential([keras.Input(x.shape[1:]), keras.layers.Dense(x.shape[-1]), layer])
    model.compile(keras.optimizers.SGD(0.02, momentum=0.5), "mse", **how)
    target = np.random.default_rng(1).normal(size=(len(x), *model.output_shape[1:]))
    history = model.fit(x, target, batch_size=4, shuffle=False, verbose=0)
    return [np.array(history.history["loss"]), *(np.array(ops.convert_to_numpy(v)) for v in model.variables)]


@pytest.mark.skipif(BACKEND == "torch", reason="torch runs one step at a time, and nothing but eagerly")
@sweep_layers(CASES, IN_SHORT)
def test_eager_and_traced_or_compiled_steps_learn_the_same(case: Case):
    eager = learned(case, run_eagerly=True)
    # On a CPU, XLA draws other numbers than TensorFlow, so layers that draw are traced without it.
    other = learned(case, steps_per_execution=STEPS, jit_compile=BACKEND == "jax" or not draws(case))
    assert np.isfinite(eager[0]).all()
    for value, expected in zip(other, eager, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-4)


@sweep_layers(CASES, USUAL if BACKEND == "tensorflow" else SENSITIVE_TO_TRACING)
def test_time_distributed_it_is_the_layer_at_each_step(case: Case):
    steps = [case.data(seed=place) for place in range(2)]
    outputs, states = [], []
    for distributed in (False, True):
        keras.utils.set_random_seed(3)
        layer = case.make()
        if distributed:
            wrapper = keras.layers.TimeDistributed(layer)
            called = [wrapper(np.stack(steps, axis=1), training=training) for training in (True, False)]
            outputs.append([ops.convert_to_numpy(y) for y in called])
        else:
            called = [[layer(x, training=training) for x in steps] for training in (True, False)]
            outputs.append([np.stack([ops.convert_to_numpy(y) for y in ys], axis=1) for ys in called])
        states.append([np.array(ops.convert_to_numpy(v)) for v in layer.variables])
    for value, expected in zip(outputs[1] + states[1], outputs[0] + states[0], strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)


ON_TWO_DEVICES = """
import sys

import numpy as np
import tensorflow as tf

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

import keras
from contextlib import nullcontext
from tests.layers import table

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

def learned(cases, places):
    # The variables of a model with an input and an output for each case.
    keras.utils.set_random_seed(3)
    with strategy.scope() if places > 1 else nullcontext():
        inputs = [keras.Input(case.shape()[1:]) for case in cases]
        before = [keras.layers.Dense(x.shape[-1])(x) for x in inputs]
        model = keras.Model(inputs, [case.make()(x) for case, x in zip(cases, before)])
        model.compile(keras.optimizers.SGD(0.02), "mse", run_eagerly=places == 1, jit_compile=False)
    rng = np.random.default_rng(1)
    given = [case.data(4) for case in cases], [rng.normal(size=(4, *y.shape[1:])) for y in model.outputs]
    # Each device gets the batch that the single one gets.
    x, y = ([np.concatenate([part] * places) for part in parts] for parts in given)
    model.fit(x, y, batch_size=4 * places, epochs=2, shuffle=False, verbose=0)
    return [(v.path, np.array(v.value)) for v in model.variables]

cases = getattr(table, sys.argv[1])
for (path, expected), (_, value) in zip(learned(cases, 1), learned(cases, 2), strict=True):
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5, err_msg=path)
print("same for", len(cases))
"""


@pytest.mark.skipif(BACKEND != "tensorflow", reason="MirroredStrategy is TensorFlow's")
@pytest.mark.parametrize("cases", ["SENSITIVE_TO_TRACING", pytest.param("REPRESENTATIVES", marks=pytest.mark.complete)])
def test_two_devices_learn_what_one_learns(cases, tmp_path):
    # In a process of its own: devices are divided before anything runs on them.
    told = run_code(ON_TWO_DEVICES, cases, cwd=tmp_path)
    count = len({"SENSITIVE_TO_TRACING": SENSITIVE_TO_TRACING, "REPRESENTATIVES": REPRESENTATIVES}[cases])
    assert told.split() == ["same", "for", str(count)]
