"""Measures the time and memory of a training step as a residual network grows deeper, and of building and tracing it.

    python -m benchmarks.layers.depth [--depths 20 56 110 302 1202] [--batch 16] [--steps 8] [--minutes 25]
                               [--json FILE] [--resume]

The networks are the zoo's resnet, the same with recompute=True, the zoo's stochastic_resnet, and the resnet in plain
Keras layers, without and with keras.remat around each branch. Each figure comes from a separate process, on TensorFlow
in graph mode, without XLA; see `harness.measure_growth`. Keras walks a functional network recursively, and 1202 plain
layers are deeper than Python's default allows: `plain.py` raises that limit.

The file is written after each figure; --resume continues the file of a run that was stopped.

The benchmark also compares one step from the same weights on the same batch: a network that saves memory has to move
its weights and its moving statistics as the plain one does.
"""

import argparse
import json
from pathlib import Path

from ..harness import (
    compile_for_training,
    measure_growth,
    parse_options,
    random_batch,
    run_in_own_process,
    write_result,
)

SHAPE = (32, 32, 3)
OURS, RECOMPUTE, STOCHASTIC, PLAIN, REMAT = KINDS = (
    "keras-skip",
    "keras-skip, recompute",
    "keras-skip, stochastic depth",
    "plain Keras layers",
    "plain Keras layers, keras.remat",
)


def build_network(kind, depth):
    from zoo.networks.small_images.resnet import cifar_resnet, stochastic_resnet

    from . import plain

    return {
        OURS: lambda: cifar_resnet(SHAPE, depth=depth),
        RECOMPUTE: lambda: cifar_resnet(SHAPE, depth=depth, recompute=True),
        STOCHASTIC: lambda: stochastic_resnet(SHAPE, depth=depth),
        PLAIN: lambda: plain.resnet(depth),
        REMAT: lambda: plain.rematerialized_resnet(depth),
    }[kind]()


def compare_moves(kind, depth=20, batch=16):
    """Compares how far one step moves weights and moving statistics of a network with the plain network's step.

    Returns:
        For each of the two the norm of the move, and the norm of the difference to the plain network's move, both
        divided by the norm of the plain network's move.
    """
    import keras
    import numpy as np

    from . import plain

    models = [compile_for_training(build_network(which, depth)) for which in (PLAIN, kind)]
    plain.copy_weights(*models)
    found = []
    for model in models:
        before = {v.path.replace("/", "_"): keras.ops.convert_to_numpy(v).copy() for v in model.variables}
        model.train_on_batch(*random_batch(SHAPE, batch))
        groups = (model.trainable_variables, model.non_trainable_variables)
        found.append(
            [
                {v.path.replace("/", "_"): v.numpy() - before[v.path.replace("/", "_")] for v in group}
                for group in groups
            ]
        )
    result = {}
    for name, expected, moved in zip(("weights", "moving statistics"), *found, strict=True):
        names = list(expected)
        a, b = (np.concatenate([move[key].ravel() for key in names]) for move in (expected, moved))
        norm = np.linalg.norm(a)
        result[name] = {"move": float(np.linalg.norm(b) / norm), "difference": float(np.linalg.norm(b - a) / norm)}
    return result


def case(what, *arguments):
    if what == "moves":
        return compare_moves(*arguments)
    kind, depth, batch, steps = arguments
    return measure_growth(lambda: build_network(kind, depth), [batch], steps)


def make_row(depth, found):
    return {"depth": depth, "built": found["built"], "first step": found["first step"], **found["batches"][0]}


def describe(row):
    return (
        f"built in {row['built']:.1f} s, first step {row['first step']:.1f} s, then "
        f"{row['seconds']['median']:.3f} s and {row['MiB']:.0f} MiB"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 56, 110, 302, 1202])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=25, help="leave out networks that take longer")
    parser.add_argument("--resume", action="store_true", help="continue the file of a run that was stopped")
    options = parse_options(parser, case)
    arguments = {"batch": options.batch, "steps": options.steps}
    if options.resume and options.json and Path(options.json).exists():
        figures = json.loads(Path(options.json).read_text(encoding="utf-8"))["figures"]
    else:
        same = {kind: run_in_own_process(__spec__.name, "moves", kind) for kind in (OURS, RECOMPUTE, REMAT)}
        for kind, found in same.items():
            print(f"{kind}, a step's move against the plain network's: {found}", flush=True)
        figures = {"curves": {kind: [] for kind in KINDS}, "moves": same, "left out": {}}
    for depth in options.depths:
        for kind, curve in figures["curves"].items():
            name = f"{kind} at {depth} layers"
            if name in figures["left out"] or any(row["depth"] == depth for row in curve):
                continue
            found = run_in_own_process(
                __spec__.name, "grow", kind, depth, options.batch, options.steps, minutes=options.minutes
            )
            if found is None:
                figures["left out"][name] = options.minutes
                print(f"{name}: left out after {options.minutes:g} minutes", flush=True)
            else:
                curve.append(make_row(depth, found))
                print(f"{name}: {describe(curve[-1])}", flush=True)
            if options.json:
                write_result(options.json, arguments, figures)


if __name__ == "__main__":
    main()
