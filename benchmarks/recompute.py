"""Peak memory and time of a training step, as it is and with `recompute`, as depth grows.

    python benchmarks/recompute.py [--batch 64] [--steps 3] [--rounds 5]

Memory: each figure comes from a process of its own, on TensorFlow in graph mode, without XLA; see `harness.grow`.

Time: both networks train in one process, alternately. Processor time is counted beside the time of the clock, since
another load on the machine changes it less.
"""

import argparse
import json
import time

from harness import alternate, compiled, grow, in_own_process, random_batch, ratio, seconds, shown, write

SIDE = (32, 32, 3)
NETWORKS = {
    "densenet_bc_12": ("densenet", (22, 40, 70, 100)),
    "preact_resnet": ("preact", (47, 110, 164)),
}


def network(family, depth, recompute):
    from zoo.networks.densenet import cifar_densenet
    from zoo.networks.preactivation import preact_resnet

    if family == "densenet":
        bc = {"growth_rate": 12, "bottleneck": True, "compression": 0.5}
        return cifar_densenet(SIDE, depth=depth, recompute=recompute, **bc)
    return preact_resnet(SIDE, depth=depth, recompute=recompute)


def peak(family, depth, recompute, batch, steps):
    """MiB that steps on whole batches take above what a step on one image has left."""
    return grow(lambda: network(family, depth, recompute), [batch], steps)["batches"][0]["MiB"]


def times(family, depth, batch, steps, rounds):
    """Seconds of the first step of each, plain and recomputed, and the ratios by the clock and by the processor."""
    x, y = random_batch(SIDE, batch)
    first, timers, processor = [], {}, {}
    for name, recompute in (("plain", False), ("recomputed", True)):
        model = compiled(network(family, depth, recompute))
        step = lambda model=model: model.train_on_batch(x, y)  # noqa: E731
        first.append(seconds(step))
        processor[name] = []

        def timer(step=step, spent=processor[name]):
            before = time.process_time()
            clock = seconds(step, steps)
            spent.append((time.process_time() - before) / steps)
            return clock

        timers[name] = timer
    clock = alternate(timers, rounds)
    return first, ratio(clock, "recomputed", "plain"), ratio(processor, "recomputed", "plain")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3, help="in each round, of each network")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=NETWORKS, nargs="+", default=list(NETWORKS))
    parser.add_argument("--json", help="a file for the figures")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(peak(*json.loads(options.case))))
        return
    results = {}
    for name in options.only:
        family, depths = NETWORKS[name]
        curve = []
        for depth in depths:
            plain, recomputed = (in_own_process(__file__, family, depth, on, options.batch, 2) for on in (False, True))
            curve.append({"depth": depth, "plain (MiB)": plain, "recomputed (MiB)": recomputed})
            share = recomputed / plain
            print(f"{name} {depth}: {plain:.0f} MiB, recomputed {recomputed:.0f} MiB, ratio {share:.2f}", flush=True)
        first, clock, processor = times(family, depths[-1], options.batch, options.steps, options.rounds)
        results[name] = {"memory": curve, "first step (s)": first, "clock": clock, "processor": processor}
        for kind, found in (("clock", clock), ("processor", processor)):
            print(f"{name} {depths[-1]}, time recomputed / plain by the {kind}: {shown(found)}", flush=True)
    if options.json:
        arguments = {"batch": options.batch, "steps": options.steps, "rounds": options.rounds}
        write(options.json, arguments, results)


if __name__ == "__main__":
    main()
