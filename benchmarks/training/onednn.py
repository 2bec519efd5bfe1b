"""Measures a training step and inference with oneDNN on this processor: TF_ENABLE_ONEDNN_OPTS=1 against 0.

    python -m benchmarks.training.onednn [--rounds 3] [--seconds 1.0]

TensorFlow reads the variable when it loads, so each measurement runs in its own process; the two take turns. By default
TensorFlow uses oneDNN where the processor has instructions for neural networks, such as AVX-512 VNNI.
"""

import argparse

from ..harness import (
    compile_for_training,
    count_steps,
    format_spread,
    parse_options,
    random_batch,
    ratio,
    run_in_own_process,
    seconds,
    spread,
    write_result,
)

NETWORKS = {"highway_mlp": 128, "highway_mnist_32": 128, "resnet20": 128, "densenet_bc_100_12": 32}


def measure(wanted):
    """Returns the seconds of a step of each kind, by network."""
    import zoo

    found = {}
    for name, batch in NETWORKS.items():
        model = compile_for_training(zoo.build(name))
        x, y = random_batch(model.input_shape[1:], batch)
        actions = {
            f"{name} train": lambda model=model, x=x, y=y: model.train_on_batch(x, y),
            f"{name} infer": lambda model=model, x=x: model.predict_on_batch(x),
        }
        for kind, action in actions.items():
            seconds(action, 2)  # traces
            found[kind] = seconds(action, count_steps(wanted, action))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="for the steps of one network in one process")
    options = parse_options(parser, measure)
    kept = {"1": [], "0": []}
    for number in range(options.rounds):
        for switch in sorted(kept, reverse=number % 2 == 0):
            kept[switch].append(
                run_in_own_process(__spec__.name, options.seconds, environment={"TF_ENABLE_ONEDNN_OPTS": switch})
            )
    figures = {}
    for kind in kept["1"][0]:
        times = {switch: [found[kind] for found in rounds] for switch, rounds in kept.items()}
        figures[kind] = {"seconds": spread(times["1"]), "ratio": ratio(times, "1", "0")}
        print(f"{kind}, with oneDNN / without: {format_spread(figures[kind]['ratio'])}")
    if options.json:
        write_result(options.json, {"rounds": options.rounds}, figures)


if __name__ == "__main__":
    main()
