"""Measures a training step and inference of the zoo's networks against the same networks of others.

    python -m benchmarks.layers.steps [--only NETWORK] [--rounds 7] [--seconds 1.0] [--torch PYTHON]

The others are the network in plain Keras layers (plain.py), with the same weights and, as a check proves, the same
outputs; that of keras.applications; and that in PyTorch, eager and with channels last (pytorch.py), in a separate
process, whose interpreter --torch or the variable BENCH_TORCH may name. All take turns within a round, on random images
of one size, in float32, as the zoo trains: on TensorFlow and a CPU without XLA. The figures are the minimum, median and
maximum over the rounds of our time divided by theirs.
"""

import argparse
import gc
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from ..harness import (
    alternate,
    compile_for_training,
    count_steps,
    format_spread,
    parse_options,
    random_batch,
    ratio,
    seconds,
    spread,
    write_result,
)

PLAIN, APPLICATIONS, TORCH = "plain Keras layers", "keras.applications", "PyTorch"
# The batch, and who else has this network.
NETWORKS = {
    "resnet20": (128, (PLAIN, TORCH)),
    "resnet110": (128, (PLAIN, TORCH)),
    "wrn_16_4": (64, (PLAIN, TORCH)),
    "densenet_bc_100_12": (64, (PLAIN, TORCH)),
    "highway_mnist_16": (128, (PLAIN, TORCH)),
    "highway_mnist_32": (128, (PLAIN, TORCH)),
    "highway19": (64, (PLAIN, TORCH)),
    "resnet50": (8, (PLAIN, TORCH)),
    "resnet50_keras": (8, (APPLICATIONS,)),
    "densenet121": (8, (APPLICATIONS,)),
}


class Torch:
    """A network in another process, which waits until it is asked for times."""

    def __init__(self, interpreter, network, batch):
        command = [interpreter, Path(__file__).with_name("pytorch.py"), network, str(batch)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.version, parameters = self._answer().split()
        self.parameters = int(parameters)

    def seconds(self, kind, steps):
        print(kind, steps, file=self._process.stdin, flush=True)
        return float(self._answer())

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The process of PyTorch has ended; its error is above.")
        return line

    def close(self):
        self._process.communicate()


def find_torch(asked):
    """Returns an interpreter that has PyTorch, or the reason why there is none."""
    if asked is None:
        here = importlib.util.find_spec("torch") is not None
        return (sys.executable, None) if here else (None, "PyTorch is not installed, and --torch names no interpreter")
    found = subprocess.run([asked, "-c", "import torch"], capture_output=True)
    return (asked, None) if found.returncode == 0 else (None, f"{asked} has no PyTorch")


def build_rival(name, rival):
    import keras

    from . import plain

    if rival == APPLICATIONS:
        make = {"resnet50_keras": keras.applications.ResNet50, "densenet121": keras.applications.DenseNet121}[name]
        return make(weights=None, classifier_activation=None)
    makers = {
        "resnet20": lambda: plain.resnet(20),
        "resnet110": lambda: plain.resnet(110),
        "wrn_16_4": lambda: plain.wide_resnet(16, 4),
        "densenet_bc_100_12": lambda: plain.densenet_bc(100, 12),
        "resnet50": plain.resnet50,
        "highway_mnist_16": lambda: plain.highway_mnist(16),
        "highway_mnist_32": lambda: plain.highway_mnist(32),
        "highway19": plain.highway19,
    }
    return makers[name]()


def check_same(ours, theirs, rival):
    """Checks that the parameters are equal, and for plain layers, which have the same names, the outputs too."""
    import numpy as np

    from . import plain

    check_parameters(ours, count(theirs), rival)
    if rival == PLAIN:
        plain.copy_weights(ours, theirs)
        x, _ = random_batch(ours.input_shape[1:], 1)
        expected = np.asarray(ours(x))
        np.testing.assert_allclose(np.asarray(theirs(x)), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def check_parameters(ours, theirs, rival):
    if count(ours) != theirs:
        raise ValueError(f"Expected {count(ours)} parameters. Received: {rival} with {theirs}")


def count(model):
    from zoo.networks.counting import count

    return count(model.trainable_variables)


def take_turns(kind, steps_of, partner, rounds, wanted):
    """Returns the seconds of a step of each, by round; the steps of one in a round take about `wanted` seconds."""
    for step in steps_of.values():
        seconds(step, 2)  # traces
    steps = count_steps(wanted, steps_of["ours"])
    timers = {name: lambda step=step: seconds(step, steps) for name, step in steps_of.items()}
    if partner:
        partner.seconds(kind, 2)
        timers[TORCH] = lambda: partner.seconds(kind, steps)
    return alternate(timers, rounds)


def measure(name, rounds, wanted, interpreter):
    """Returns our seconds and the ratio to each rival, for each kind of step."""
    import zoo

    batch, rivals = NETWORKS[name]
    models = {"ours": compile_for_training(zoo.build(name))}
    for rival in rivals:
        if rival != TORCH:
            models[rival] = compile_for_training(build_rival(name, rival))
            check_same(models["ours"], models[rival], rival)
    partner = Torch(interpreter, name, batch) if TORCH in rivals and interpreter else None
    if partner:
        check_parameters(models["ours"], partner.parameters, TORCH)
    x, y = random_batch(models["ours"].input_shape[1:], batch)
    actions = {
        "train": {other: lambda model=model: model.train_on_batch(x, y) for other, model in models.items()},
        "infer": {other: lambda model=model: model.predict_on_batch(x) for other, model in models.items()},
    }
    found = {"batch": batch, "parameters": count(models["ours"])}
    for kind, steps_of in actions.items():
        times = take_turns(kind, steps_of, partner, rounds, wanted)
        ratios = {other: ratio(times, "ours", other) for other in times if other != "ours"}
        found[kind] = {"seconds": spread(times["ours"]), "ratios": ratios}
        for other, value in ratios.items():
            print(f"{name} {kind}, ours / {other}: {format_spread(value)}", flush=True)
    if partner:
        found["PyTorch"] = partner.version
        partner.close()
    return found


def summarise_cost(networks):
    """Returns the cost of our layers over Keras's own: for each kind of step the spread of the networks' medians."""
    pairs = [found for found in networks.values() if PLAIN in found["train"]["ratios"]]
    return {
        kind: spread([found[kind]["ratios"][PLAIN]["median"] for found in pairs])
        for kind in ("train", "infer")
        if pairs
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=NETWORKS, nargs="+", default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="for the steps of one network in one round")
    parser.add_argument("--torch", default=os.environ.get("BENCH_TORCH"), help="an interpreter that has PyTorch")
    options = parse_options(parser)
    import keras

    interpreter, why = find_torch(options.torch)
    if why:
        print(f"Without PyTorch: {why}.")
    networks = {}
    for number, name in enumerate(options.only, 1):
        print(f"{number}/{len(options.only)} {name}", flush=True)
        networks[name] = measure(name, options.rounds, options.seconds, interpreter)
        keras.backend.clear_session()
        gc.collect()
    costs = summarise_cost(networks)
    for kind, value in costs.items():
        print(f"our layers / plain Keras layers, {kind}: {format_spread(value)}")
    if options.json:
        write_result(
            options.json, {"rounds": options.rounds}, {"networks": networks, "cost": costs, "without PyTorch": why}
        )


if __name__ == "__main__":
    main()
