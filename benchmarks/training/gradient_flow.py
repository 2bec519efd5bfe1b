"""Measures how much `zoo.GradientFlow`, at its default interval, adds to a training step.

    python -m benchmarks.training.gradient_flow [--network resnet20] [--batch 128] [--rounds 12]

A training step and a measurement of the gradient's norms, each on its own batch, alternate in one process; each round
starts with the other. The benchmark also measures processor time, which other load on the machine changes less. The
share that the callback adds to a step is measurement / (step * interval).
"""

import argparse
import inspect

import numpy as np

import zoo
from zoo.analysis.gradients import PROBE_BATCH

from ..harness import compile_for_training, parse_options, random_batch, time_by_both_clocks, write_result

EVERY = inspect.signature(zoo.GradientFlow).parameters["every"].default


def measure(network, batch, rounds):
    """Returns the figures of the module's docstring, by name."""
    model = compile_for_training(zoo.build(network))
    shape = model.input_shape[1:]
    probe = zoo.GradientProbe(model)
    trained, (images, labels) = (random_batch(shape, size) for size in (batch, PROBE_BATCH))
    one_hot = np.eye(10, dtype="float32")[labels]
    calls = [lambda: model.train_on_batch(*trained), lambda: probe.measure(images, one_hot)]
    first = [time_by_both_clocks(call) for call in calls]
    times = np.zeros((rounds, 2, 2))
    for turn in range(rounds):
        for number in (0, 1) if turn % 2 else (1, 0):
            times[turn, number] = time_by_both_clocks(calls[number])
    result = {"first step (s)": first[0][0], "first measurement (s)": first[1][0]}
    for kind, name in enumerate(("clock", "processor")):
        step, measurement = times[:, 0, kind], times[:, 1, kind]
        shares = measurement / step / EVERY
        result |= {
            f"step by the {name}, median (s)": np.median(step),
            f"measurement by the {name}, median (s)": np.median(measurement),
            f"share of a step by the {name}, minimum": shares.min(),
            f"share of a step by the {name}, median": np.median(shares),
            f"share of a step by the {name}, maximum": shares.max(),
        }
    return {name: float(value) for name, value in result.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=12)
    options = parse_options(parser)
    result = measure(options.network, options.batch, options.rounds)
    for name, value in result.items():
        print(f"{name:48}{value:8.4f}")
    if options.json:
        arguments = {"network": options.network, "batch": options.batch, "rounds": options.rounds, "every": EVERY}
        write_result(options.json, arguments, result)


if __name__ == "__main__":
    main()
