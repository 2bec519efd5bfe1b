"""Peak memory and time of a training step, as it is and with `recompute`, as depth grows.

    python benchmarks/recompute.py [--batch 64] [--steps 3] [--rounds 6]

Memory: each figure comes from a process of its own, on TensorFlow in graph mode, without XLA. A step on one image comes
first, which traces the graph and allocates what does not depend on the batch; the figure is how far the highest
resident memory of the steps on whole batches lies above what was resident then. Only Linux counts it in this way.

Time: both networks train in one process, alternately. Processor time is counted beside the time of the clock, since
another load on the machine changes it less.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SIDE = (32, 32, 3)
NETWORKS = {
    "densenet_bc_12": ("densenet", (22, 40, 70, 100)),
    "resnet": ("resnet", (20, 56, 110)),
    "preact_resnet": ("preact", (47, 110, 164)),
}


def network(family, depth, recompute):
    from zoo.networks.densenet import cifar_densenet
    from zoo.networks.preactivation import preact_resnet
    from zoo.networks.resnet import cifar_resnet

    if family == "densenet":
        bc = {"growth_rate": 12, "bottleneck": True, "compression": 0.5}
        return cifar_densenet(SIDE, depth=depth, recompute=recompute, **bc)
    return {"resnet": cifar_resnet, "preact": preact_resnet}[family](SIDE, depth=depth, recompute=recompute)


def compiled(model):
    import keras

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True), loss, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def resident(name):
    """VmRSS (now) or VmHWM (the highest so far) of this process, in MiB."""
    with open("/proc/self/status") as file:
        return int(re.search(rf"{name}:\s+(\d+) kB", file.read())[1]) / 1024


def peak(family, depth, recompute, batch, steps):
    """MiB that steps on whole batches take above what a step on one image has left."""
    import keras
    import numpy as np
    import tensorflow as tf

    rng = np.random.default_rng(0)

    def batches():
        for size in (1, *[batch] * steps):
            yield rng.normal(size=(size, *SIDE)).astype("float32"), rng.integers(0, 10, size)

    signature = (tf.TensorSpec((None, *SIDE), "float32"), tf.TensorSpec((None,), "int64"))
    data = tf.data.Dataset.from_generator(batches, output_signature=signature)  # one trace for batches of any size
    before = []
    after_first = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda number, logs: before.append(resident("VmRSS")) if number == 0 else None
    )
    compiled(network(family, depth, recompute)).fit(data, shuffle=False, verbose=0, callbacks=[after_first])
    return resident("VmHWM") - before[0]


def peak_in_own_process(*arguments):
    command = [sys.executable, __file__, "--peak", json.dumps(arguments)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def times(family, depth, batch, steps, rounds):
    """Seconds of a step, (clock, processor), of each round: plain and recomputed."""
    import numpy as np

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(batch, *SIDE)).astype("float32"), rng.integers(0, 10, batch)
    models = [compiled(network(family, depth, recompute)) for recompute in (False, True)]
    first = []
    for model in models:
        start = time.perf_counter()
        model.train_on_batch(x, y)
        first.append(time.perf_counter() - start)
    measured = []
    for _ in range(rounds):
        taken = []
        for model in models:
            start = time.perf_counter(), time.process_time()
            for _ in range(steps):
                model.train_on_batch(x, y)
            taken.append(((time.perf_counter() - start[0]) / steps, (time.process_time() - start[1]) / steps))
        measured.append(taken)
    return first, np.array(measured)


def spread(ratios):
    import numpy as np

    return {"minimum": float(np.min(ratios)), "median": float(np.median(ratios)), "maximum": float(np.max(ratios))}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3, help="in each round, of each network")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--only", choices=NETWORKS, help="one family of networks")
    parser.add_argument("--json", help="a file for the figures")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(peak(*json.loads(options.peak)))
        return
    results = {}
    for name in [options.only] if options.only else NETWORKS:
        family, depths = NETWORKS[name]
        curve = []
        for depth in depths:
            plain, recomputed = (peak_in_own_process(family, depth, on, options.batch, 2) for on in (False, True))
            curve.append({"depth": depth, "plain (MiB)": plain, "recomputed (MiB)": recomputed})
            ratio = recomputed / plain
            print(f"{name} {depth}: {plain:.0f} MiB, recomputed {recomputed:.0f} MiB, ratio {ratio:.2f}", flush=True)
        first, measured = times(family, depths[-1], options.batch, options.steps, options.rounds)
        clock, processor = (spread(measured[:, 1, kind] / measured[:, 0, kind]) for kind in (0, 1))
        results[name] = {"memory": curve, "first step (s)": first, "clock": clock, "processor": processor}
        for kind, ratio in (("clock", clock), ("processor", processor)):
            figures = ", ".join(f"{name} {value:.2f}" for name, value in ratio.items())
            print(f"{name} {depths[-1]}, time recomputed / plain by the {kind}: {figures}", flush=True)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"arguments": vars(options), "figures": results}, file, indent=1)


if __name__ == "__main__":
    main()
