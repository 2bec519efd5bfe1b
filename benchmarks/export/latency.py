"""Times exported networks under onnxruntime, against other runtimes and exports, and in int8 against fp32.

    python -m benchmarks.export.latency [--torch PYTHON] [--openvino PYTHON] [--networks NAME ...] [--rounds 40]

The networks are new. All take uint8 pixels, channels last, and give the same probabilities (asserted, but for int8);
all include the preprocessing.

    ours               our file under onnxruntime
    int8               the same in int8, calibrated on random pixels, which suffice to measure its time
    ours on openvino   our file with device="openvino", which needs onnxruntime-openvino
    openvino           our file under OpenVINO itself
    torch.onnx         torch's export of a network written by hand with our weights, under onnxruntime
    torch              that network in torch
    torch.compile      that network compiled by torch, which needs a C++ compiler

--torch and --openvino name interpreters that have torch and onnx, and onnxruntime-openvino and openvino; the default is
this one. Each runtime has a process of its own, with its defaults for threads, and they run alternately on batches of 1
and 32. A pause before each run lets the threads of the one before go to sleep. A ratio compares two times of one round.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from .torch_networks import MEAN, SCALE, STD

BATCHES, PAUSE, WARM_UP = (1, 32), 0.25, 2
KINDS = ("ours", "int8", "ours on openvino", "openvino", "torch.onnx", "torch", "torch.compile")
HERE = Path(__file__).parent


def list_weights(model):
    """Returns the weights in the order of torch: layer by layer, and those of a block's shortcut last."""
    import keras

    def leaves(layer):
        children = [child for child in layer._flatten_layers(include_self=False, recursive=False)]
        return [layer] if not children else [leaf for child in children for leaf in leaves(child)]

    arrays = []
    for layer in model.layers:
        kept = [leaf for leaf in leaves(layer) if leaf.weights]
        # torch lists a block's convolutions, then its normalisations.
        shortcut = [leaf for leaf in kept if "projection" in leaf.path]
        branch = [leaf for leaf in kept if leaf not in shortcut]
        norms = [leaf for leaf in branch if isinstance(leaf, keras.layers.BatchNormalization)]
        ordered = [leaf for leaf in branch if leaf not in norms] + norms + shortcut
        arrays += [weight.numpy() for leaf in ordered for weight in leaf.weights]
    return arrays


def write_files(name, folder, torch_python):
    """Writes the ONNX files, the weights, and the pixels to run them on."""
    import export
    import zoo
    from export.precision.int8 import quantise_to_int8
    from export.precision.quantisation import choose_settings

    model = zoo.build(name)
    pixels = np.random.default_rng(0).integers(0, 256, (max(BATCHES), *model.input_shape[1:]), dtype="uint8")
    raw = export.Preprocessing("uint8", scale=SCALE, mean=MEAN, std=STD)
    ours = export.to_onnx(model, folder / "ours.onnx", preprocessing=raw, activation="softmax")
    chosen = choose_settings()
    quantise_to_int8(ours, folder / "int8.onnx", [{"image": pixels}], chosen.activations, chosen.reduce_range)
    np.save(folder / "pixels.npy", pixels)
    np.savez(folder / "weights.npz", *list_weights(model))
    if torch_python:
        subprocess.run([torch_python, HERE / "torch_networks.py", name, str(folder)], check=True)


class Runner:
    """A runtime in a process of its own."""

    def __init__(self, kind, name, folder, python):
        self.said = "not installed"
        if python is None:
            return
        command = [python, HERE / "runner.py", kind, name, str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.said = self.process.stdout.readline().strip() or "failed"

    def time_run(self, batch):
        time.sleep(PAUSE)
        self.process.stdin.write(f"{batch}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        if hasattr(self, "process"):
            self.process.communicate()


def race(name, pythons, rounds):
    with tempfile.TemporaryDirectory() as folder:
        write_files(name, Path(folder), pythons["torch.onnx"] and pythons["torch"])
        runners = {kind: Runner(kind, name, folder, pythons[kind]) for kind in KINDS}
        try:
            ready = {kind: runner for kind, runner in runners.items() if runner.said == "ready"}
            answers = {kind: np.load(f"{folder}/{kind}.npy") for kind in ready}
            for kind, answer in answers.items():
                difference = np.max(np.abs(answers["ours"] - answer))
                assert kind == "int8" or difference < 1e-5, f"{kind} gives probabilities that differ by {difference}"
            for batch in BATCHES:
                show(name, batch, runners, measure(ready, batch, rounds))
        finally:
            for runner in runners.values():
                runner.close()


def measure(runners, batch, rounds):
    """Returns the seconds of each runtime in each round, every one of which starts with another runtime."""
    found = []
    for number in range(rounds + WARM_UP):
        kinds = list(runners)[number % len(runners) :] + list(runners)[: number % len(runners)]
        found.append({kind: runners[kind].time_run(batch) for kind in kinds})
    return found[WARM_UP:]


def show(name, batch, runners, rounds):
    for kind, runner in runners.items():
        if runner.said != "ready":
            print(f"{name}, batch {batch}: {kind}: {runner.said}", flush=True)
            continue
        ratios = [taken["ours"] / taken[kind] for taken in rounds]
        milliseconds = statistics.median(taken[kind] for taken in rounds) * 1e3
        spread = f"minimum {min(ratios):.3f}, median {statistics.median(ratios):.3f}, maximum {max(ratios):.3f}"
        print(f"{name}, batch {batch}: {kind}: {milliseconds:.2f} ms; ours / {kind}: {spread}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter that has torch and onnx")
    parser.add_argument(
        "--openvino", metavar="PYTHON", help="an interpreter that has onnxruntime-openvino and openvino"
    )
    parser.add_argument("--networks", nargs="+", default=["resnet20", "resnet50"])
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    from export.precision.quantisation import choose_settings

    torch = options.torch or (sys.executable if find_spec("torch") else None)
    openvino = options.openvino or sys.executable
    pythons = {kind: torch if kind.startswith("torch") else sys.executable for kind in KINDS}
    # torch's file runs under the same onnxruntime as ours.
    pythons |= {"ours on openvino": openvino, "openvino": openvino, "torch.onnx": torch and sys.executable}
    print(f"{os.cpu_count()} cores, {choose_settings()}", flush=True)
    for name in options.networks:
        race(name, pythons, options.rounds)


if __name__ == "__main__":
    sys.exit(main())
