"""Measures a training step and inference in mixed_bfloat16 against float32, in turns, on this processor.

    python -m benchmarks.training.precision [--rounds 7] [--seconds 1.0]

Processors with AMX or AVX-512 BF16 multiply 16-bit numbers faster than 32-bit ones; others only emulate bfloat16.
"""

import argparse

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

NETWORKS = {"resnet20": 128, "wrn_16_2": 128, "densenet_bc_100_12": 32, "highway_mnist_32": 128}
POLICIES = ("mixed_bfloat16", "float32")


def make_timers(name, batch, policy, wanted):
    """Returns a function for each kind of step that gives its seconds, from as many steps as take `wanted` seconds."""
    import zoo
    from zoo.training.learner import precision

    with precision(policy):
        model = compile_for_training(zoo.build(name))
    x, y = random_batch(model.input_shape[1:], batch)
    found = {}
    for kind, action in {
        "train": lambda: model.train_on_batch(x, y),
        "infer": lambda: model.predict_on_batch(x),
    }.items():
        seconds(action, 2)  # traces
        steps = count_steps(wanted, action)
        found[kind] = lambda action=action, steps=steps: seconds(action, steps)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="for the steps of one network in one round")
    options = parse_options(parser)
    figures = {}
    for name, batch in NETWORKS.items():
        of = {policy: make_timers(name, batch, policy, options.seconds) for policy in POLICIES}
        for kind in ("train", "infer"):
            times = alternate({policy: of[policy][kind] for policy in POLICIES}, options.rounds)
            found = {"seconds": spread(times[POLICIES[0]]), "ratio": ratio(times, *POLICIES)}
            figures[f"{name} {kind}"] = {"batch": batch, **found}
            print(f"{name} {kind}, {' / '.join(POLICIES)}: {format_spread(found['ratio'])}", flush=True)
    if options.json:
        write_result(options.json, {"rounds": options.rounds}, figures)


if __name__ == "__main__":
    main()
