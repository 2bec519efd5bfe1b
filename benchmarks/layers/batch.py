"""Time and memory of a training step as the batch grows.

    python benchmarks/batch.py [--batches 16 32 64 128] [--steps 5]

Each network is trained in a process of its own, on batches that grow; see `harness.grow`.
"""

import argparse

import depth
from harness import grow, in_own_process, parsed, write

SHAPE = (32, 32, 3)
NETWORKS = {
    "resnet110": (depth.PLAIN, depth.OURS, depth.RECOMPUTE, depth.STOCHASTIC),
    "densenet_bc_100_12": (depth.PLAIN, depth.OURS, depth.RECOMPUTE),
}


def network(name, kind):
    import plain

    import zoo

    if name == "resnet110":
        return depth.network(kind, 110)
    return plain.densenet_bc(100, 12) if kind == depth.PLAIN else zoo.build(name, recompute=kind == depth.RECOMPUTE)


def case(name, kind, batches, steps):
    return grow(lambda: network(name, kind), batches, steps)["batches"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=NETWORKS, nargs="+", default=list(NETWORKS))
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--steps", type=int, default=5, help="on batches of each size")
    options = parsed(parser, case)
    figures = {name: {} for name in options.only}
    for name, curves in figures.items():
        for kind in NETWORKS[name]:
            curves[kind] = in_own_process(__file__, name, kind, options.batches, options.steps)
            for row in curves[kind]:
                print(
                    f"{name}, {kind}, batch {row['batch']}: {row['seconds']['median']:.3f} s, {row['MiB']:.0f} MiB",
                    flush=True,
                )
    if options.json:
        write(options.json, {"steps": options.steps}, figures)


if __name__ == "__main__":
    main()
