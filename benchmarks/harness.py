"""What all benchmarks share: measuring in turns, ratios with their spread, memory of a process of its own, results."""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = HERE / "results"


def seconds(step, steps=1):
    """Of one step, the mean of several."""
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - start) / steps


def steps_in(wanted, step):
    """How many steps, of one that has been traced, take about so many seconds."""
    return max(1, round(wanted / seconds(step)))


def by_both_clocks(call):
    """Seconds of one call, by the clock and of the processor, which another load on the machine changes less."""
    start = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def alternate(timers, rounds):
    """Calls each of `timers`, name to a function that returns seconds, once a round.

    Whoever comes first changes from round to round, so that nobody always has the warmer machine.

    Returns:
        Name to the list of its seconds, by round.
    """
    names = list(timers)
    times = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(timers[name]())
    return times


def spread(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return {"minimum": float(ordered[0]), "median": float(median), "maximum": float(ordered[-1])}


def ratio(times, name, other):
    """The spread, over the rounds, of the ratio of two that were measured in turns."""
    return spread([a / b for a, b in zip(times[name], times[other], strict=True)])


def shown(found):
    return f"{found['median']:.3f} ({found['minimum']:.3f} to {found['maximum']:.3f})"


def resident(name="VmRSS"):
    """VmRSS (now) or VmHWM (the highest so far) of this process, in MiB. Only Linux counts it in this way."""
    return int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


def parsed(parser, case=None):
    """The options, with --json among them; a process that `in_own_process` started prints its case, and ends."""
    parser.add_argument("--json", help="a file for the figures")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(case(*json.loads(options.case))))
        sys.exit()
    return options


def in_own_process(script, *arguments, environment=None, interpreter=sys.executable, minutes=None):
    """What a run of `script --case ARGUMENTS` prints in its last line, as JSON; None if it takes longer."""
    command = [interpreter, script, "--case", json.dumps(arguments)]
    variables = {**os.environ, **(environment or {})}
    try:
        seconds = None if minutes is None else 60 * minutes
        done = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=seconds)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        raise RuntimeError(f"{Path(script).name} {arguments} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compiled(model):
    """The network as the zoo trains it on a CPU: SGD with momentum, without XLA."""
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


def grow(make, batches, steps):
    """What it takes to build, to trace and to train a network on batches that grow; only once in a process.

    The first step is on one image: it traces the graph, and allocates what does not depend on the batch. Memory is how
    far the highest resident memory since then lies above what was resident then.

    Args:
        make: A function that builds a network.
        batches: Sizes that grow.
        steps: On batches of each size.

    Returns:
        Seconds of the building and of the first step, and for each size the seconds of a step and the MiB.
    """
    import keras
    import tensorflow as tf

    start = time.perf_counter()
    model = compiled(make())
    built = time.perf_counter() - start
    shape = model.input_shape[1:]
    sizes = [1, *(batch for batch in batches for _ in range(steps))]
    x, y = random_batch(shape, max(sizes))
    ends = []
    signature = (tf.TensorSpec((None, *shape), "float32"), tf.TensorSpec((None,), "int64"))  # one trace for all sizes
    data = tf.data.Dataset.from_generator(lambda: ((x[:n], y[:n]) for n in sizes), output_signature=signature)
    unhurried = tf.data.Options()
    unhurried.autotune.enabled = False  # its thread would be waited for
    data = data.with_options(unhurried)

    def note(number, logs):
        ends.append((time.perf_counter(), resident("VmHWM" if number else "VmRSS")))
        if number == 0:
            Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins again: tracing has its own peak

    start = time.perf_counter()
    model.fit(data, shuffle=False, verbose=0, callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=note)])
    times = [after[0] - before[0] for before, after in zip(ends, ends[1:], strict=False)]
    rows = []
    for place, batch in enumerate(batches):
        mine = times[place * steps : (place + 1) * steps]
        rows.append({"batch": batch, "seconds": spread(mine), "MiB": ends[(place + 1) * steps][1] - ends[0][1]})
    return {"built": built, "first step": ends[0][0] - start, "batches": rows}


def write(path, arguments, figures):
    """The figures with what they were measured with and on."""
    from zoo.devices.environment import environment, now, processor, versions

    machine = {"when": now(), "processor": processor(), **environment(), "versions": versions()}
    result = {"arguments": arguments, "machine": machine, "figures": figures}
    Path(path).write_text(json.dumps(result, indent=1) + "\n")
