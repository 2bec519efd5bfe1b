"""Measures the time and memory of a training step as the batch grows.

    python -m benchmarks.layers.batch [--batches 16 32 64 128] [--steps 5]

Each network trains in its own process, on growing batches; see `harness.measure_growth`.
"""

import argparse

from ..harness import measure_growth, parse_options, run_in_own_process, write_result
from . import depth

SHAPE = (32, 32, 3)
NETWORKS = {
    "resnet110": (depth.PLAIN, depth.OURS, depth.RECOMPUTE, depth.STOCHASTIC),
    "densenet_bc_100_12": (depth.PLAIN, depth.OURS, depth.RECOMPUTE),
}


def build_network(name, kind):
    import zoo

    from . import plain

    if name == "resnet110":
        return depth.build_network(kind, 110)
    return plain.densenet_bc(100, 12) if kind == depth.PLAIN else zoo.build(name, recompute=kind == depth.RECOMPUTE)


def case(name, kind, batches, steps):
    return measure_growth(lambda: build_network(name, kind), batches, steps)["batches"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=NETWORKS, nargs="+", default=list(NETWORKS))
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--steps", type=int, default=5, help="on batches of each size")
    options = parse_options(parser, case)
    figures = {name: {} for name in options.only}
    for name, curves in figures.items():
        for kind in NETWORKS[name]:
            curves[kind] = run_in_own_process(__spec__.name, name, kind, options.batches, options.steps)
            for row in curves[kind]:
                print(
                    f"{name}, {kind}, batch {row['batch']}: {row['seconds']['median']:.3f} s, {row['MiB']:.0f} MiB",
                    flush=True,
                )
    if options.json:
        write_result(options.json, {"steps": options.steps}, figures)


if __name__ == "__main__":
    main()
