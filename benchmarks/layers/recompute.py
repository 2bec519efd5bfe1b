"""Measures the peak memory and the time of a training step as depth grows, with `recompute` and without.

    python -m benchmarks.layers.recompute [--batch 64] [--steps 3] [--rounds 5]

Memory: each figure comes from a separate process, on TensorFlow in graph mode, without XLA; see
`harness.measure_growth`.

XLA: JAX shows how much the forward run keeps for the gradient, and how much the compiled step needs besides its
inputs and outputs. Where they disagree, as on a CPU, the compiler has merged the second run with the first again: it
drops the barrier between them early there. TensorFlow's jit_compile is the same compiler.

Time: both networks train alternately in one process. The benchmark also measures processor time, which other load on
the machine changes less.
"""

import argparse
import importlib.util
import time

from ..harness import (
    alternate,
    compile_for_training,
    format_spread,
    measure_growth,
    parse_options,
    random_batch,
    ratio,
    run_in_own_process,
    seconds,
    write_result,
)

SIDE = (32, 32, 3)
NETWORKS = {
    "densenet_bc_12": ("densenet", (22, 40, 70, 100)),
    "preact_resnet": ("preact", (47, 110, 164)),
}


def build_network(family, depth, recompute):
    from zoo.networks.small_images.densenet import cifar_densenet
    from zoo.networks.small_images.preactivation import preact_resnet

    if family == "densenet":
        bc = {"growth_rate": 12, "bottleneck": True, "compression": 0.5}
        return cifar_densenet(SIDE, depth=depth, recompute=recompute, **bc)
    return preact_resnet(SIDE, depth=depth, recompute=recompute)


def measure_peak(family, depth, recompute, batch, steps):
    """Returns the MiB that steps on whole batches add to what a step on one image leaves."""
    return measure_growth(lambda: build_network(family, depth, recompute), [batch], steps)["batches"][0]["MiB"]


def measure_times(family, depth, batch, steps, rounds):
    """Returns the seconds of both first steps, and the ratios of later ones by the clock and by the processor."""
    x, y = random_batch(SIDE, batch)
    first, timers, processor = [], {}, {}
    for name, recompute in (("plain", False), ("recomputed", True)):
        model = compile_for_training(build_network(family, depth, recompute))
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


def measure_xla(layers=8, growth_rate=12, shape=(16, 16, 16, 24)):
    """Returns the MiB that a dense block keeps for the gradient, and that its compiled gradient takes, on JAX."""
    import jax
    import numpy as np

    from keras_skip import DenseBlock

    rows = []
    for name, on in (("plain", False), ("recomputed", True)):
        block = DenseBlock(layers, growth_rate, recompute=on)
        block.build(shape)
        weights, state = (
            [v.value for v in each] for each in (block.trainable_variables, block.non_trainable_variables)
        )

        def loss(weights, x, block=block, state=state):
            return (block.stateless_call(weights, state, x, training=True)[0] ** 2).sum()

        x = np.random.default_rng(0).normal(size=shape).astype("float32")
        _, gradient = jax.vjp(loss, weights, x)
        kept = {id(array): array.nbytes for array in jax.tree.leaves(gradient)}
        compiled_step = jax.jit(jax.grad(loss)).lower(weights, x).compile()
        taken = compiled_step.memory_analysis().temp_size_in_bytes
        rows.append({"name": name, "kept": sum(kept.values()) / 2**20, "taken": taken / 2**20})
    return {"device": jax.devices()[0].device_kind, "jax": jax.__version__, "layers": layers, "rows": rows}


def case(*arguments):
    return measure_peak(*arguments) if arguments else measure_xla()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3, help="in each round, of each network")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=NETWORKS, nargs="+", default=list(NETWORKS))
    options = parse_options(parser, case)
    results = {}
    for name in options.only:
        family, depths = NETWORKS[name]
        curve = []
        for depth in depths:
            plain, recomputed = (
                run_in_own_process(__spec__.name, family, depth, on, options.batch, 2) for on in (False, True)
            )
            curve.append({"depth": depth, "plain (MiB)": plain, "recomputed (MiB)": recomputed})
            share = recomputed / plain
            print(f"{name} {depth}: {plain:.0f} MiB, recomputed {recomputed:.0f} MiB, ratio {share:.2f}", flush=True)
        first, clock, processor = measure_times(family, depths[-1], options.batch, options.steps, options.rounds)
        results[name] = {"memory": curve, "first step (s)": first, "clock": clock, "processor": processor}
        for kind, found in (("clock", clock), ("processor", processor)):
            print(f"{name} {depths[-1]}, time recomputed / plain by the {kind}: {format_spread(found)}", flush=True)
    xla = None
    if importlib.util.find_spec("jax"):
        xla = run_in_own_process(__spec__.name, environment={"KERAS_BACKEND": "jax"})
        for row in xla["rows"]:
            print(f"XLA on {xla['device']}, {row['name']}: kept {row['kept']:.1f} MiB, taken {row['taken']:.1f} MiB")
    else:
        print("Without XLA: JAX is not installed.")
    if options.json:
        arguments = {"batch": options.batch, "steps": options.steps, "rounds": options.rounds}
        write_result(options.json, arguments, {"networks": results, "xla": xla})


if __name__ == "__main__":
    main()
