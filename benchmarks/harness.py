"""Measures in turns, gives ratios with their spread and the memory of a separate process, and writes results."""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"


def seconds(step, steps=1):
    """Returns the seconds of a step, as the mean of several."""
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - start) / steps


def count_steps(wanted, step):
    """Returns how many steps take about this many seconds; the step is already traced."""
    return max(1, round(wanted / seconds(step)))


def time_by_both_clocks(call):
    """Returns the seconds of a call by the clock and by the processor, which other load changes less."""
    start = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def alternate(timers, rounds):
    """Calls each timer once a round.

    Each round starts with another timer, so that none always has the warmer machine.

    Args:
        timers: A function that returns seconds, by name.
        rounds: The number of rounds.

    Returns:
        For each name, the seconds of each round.
    """
    names = list(timers)
    times = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(timers[name]())
    return times


def spread(values):
    """Returns the minimum, the median and the maximum."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return {"minimum": float(ordered[0]), "median": float(median), "maximum": float(ordered[-1])}


def ratio(times, name, other):
    """Returns the spread, over the rounds, of the ratio of two that were measured in turns."""
    return spread([a / b for a, b in zip(times[name], times[other], strict=True)])


def format_spread(found):
    return f"{found['median']:.3f} ({found['minimum']:.3f} to {found['maximum']:.3f})"


def resident_memory(name="VmRSS"):
    """Returns VmRSS (now) or VmHWM (the highest so far) of this process in MiB; only on Linux."""
    return int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))[1]) / 1024


def parse_options(parser, case=None):
    """Parses the options and adds --json; a process that `run_in_own_process` started prints its case and exits."""
    parser.add_argument("--json", help="a file for the figures")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(case(*json.loads(options.case))))
        sys.exit()
    return options


def run_in_own_process(module, *arguments, environment=None, minutes=None):
    """Runs `python -m MODULE --case ARGUMENTS`.

    Returns:
        The JSON of the last line that it prints, or None if it takes longer than `minutes`.
    """
    command = [sys.executable, "-m", module, "--case", json.dumps(arguments)]
    variables = {**os.environ, **(environment or {})}
    try:
        seconds = None if minutes is None else 60 * minutes
        done = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=seconds, cwd=ROOT)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        raise RuntimeError(f"{module} {arguments} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compile_for_training(model):
    """Compiles a network as the zoo trains it on a CPU: SGD with momentum, without XLA."""
    import keras

    from zoo.training.learner import jit_compile

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True), loss, jit_compile=jit_compile())
    # An optimizer that makes its variables in the first step has TensorFlow trace that step twice.
    model.optimizer.build(model.trainable_variables)
    return model


def random_batch(shape, batch, classes=10):
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.normal(size=(batch, *shape)).astype("float32"), rng.integers(0, classes, batch)


def measure_growth(make, batches, steps):
    """Measures building, tracing and training a network on growing batches; works once per process.

    The first step is on one image: it traces the graph, and allocates what does not depend on the batch. Memory is the
    difference between the highest resident memory since then and the resident memory at that point.

    Args:
        make: A function that builds a network.
        batches: The sizes, in ascending order.
        steps: The number of steps for each size.

    Returns:
        The seconds to build and of the first step, and for each size the seconds of a step and the MiB.
    """
    import keras
    import tensorflow as tf

    start = time.perf_counter()
    model = compile_for_training(make())
    built = time.perf_counter() - start
    shape = model.input_shape[1:]
    sizes = [1, *(batch for batch in batches for _ in range(steps))]
    x, y = random_batch(shape, max(sizes))
    ends = []
    signature = (tf.TensorSpec((None, *shape), "float32"), tf.TensorSpec((None,), "int64"))  # one trace for all sizes
    data = tf.data.Dataset.from_generator(lambda: ((x[:n], y[:n]) for n in sizes), output_signature=signature)
    options = tf.data.Options()
    options.autotune.enabled = False  # the end would wait for its thread
    data = data.with_options(options)

    def note(number, logs):
        ends.append((time.perf_counter(), resident_memory("VmHWM" if number else "VmRSS")))
        if number == 0:
            Path("/proc/self/clear_refs").write_text(
                "5", encoding="utf-8"
            )  # VmHWM begins again: tracing has its own peak

    start = time.perf_counter()
    model.fit(data, shuffle=False, verbose=0, callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=note)])
    times = [after[0] - before[0] for before, after in zip(ends, ends[1:], strict=False)]
    rows = []
    for index, batch in enumerate(batches):
        mine = times[index * steps : (index + 1) * steps]
        rows.append({"batch": batch, "seconds": spread(mine), "MiB": ends[(index + 1) * steps][1] - ends[0][1]})
    return {"built": built, "first step": ends[0][0] - start, "batches": rows}


def write_result(path, arguments, figures):
    """Writes figures with the arguments, the machine and the versions that they come from."""
    from zoo.devices.environment import environment, now, processor, versions

    machine = {"when": now(), "processor": processor(), **environment(), "versions": versions()}
    result = {"arguments": arguments, "machine": machine, "figures": figures}
    Path(path).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
