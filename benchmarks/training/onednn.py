"""What oneDNN does for a training step and inference on this processor: TF_ENABLE_ONEDNN_OPTS=1 against 0.

    python benchmarks/onednn.py [--rounds 3] [--seconds 1.0]

TensorFlow reads the variable when it is loaded, so that each measurement is a process of its own; the two take turns.
By itself TensorFlow uses oneDNN where the processor has instructions for neural networks, such as AVX-512 VNNI.
"""

import argparse

from harness import compiled, in_own_process, parsed, random_batch, ratio, seconds, shown, spread, steps_in, write

NETWORKS = {"highway_mlp": 128, "highway_mnist_32": 128, "resnet20": 128, "densenet_bc_100_12": 32}


def measure(wanted):
    """Seconds of a step of each kind, by network."""
    import zoo

    found = {}
    for name, batch in NETWORKS.items():
        model = compiled(zoo.build(name))
        x, y = random_batch(model.input_shape[1:], batch)
        actions = {
            f"{name} train": lambda model=model, x=x, y=y: model.train_on_batch(x, y),
            f"{name} infer": lambda model=model, x=x: model.predict_on_batch(x),
        }
        for kind, action in actions.items():
            seconds(action, 2)  # traces
            found[kind] = seconds(action, steps_in(wanted, action))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="for the steps of one network in one process")
    options = parsed(parser, measure)
    kept = {"1": [], "0": []}
    for number in range(options.rounds):
        for switch in sorted(kept, reverse=number % 2 == 0):
            kept[switch].append(
                in_own_process(__file__, options.seconds, environment={"TF_ENABLE_ONEDNN_OPTS": switch})
            )
    figures = {}
    for kind in kept["1"][0]:
        times = {switch: [found[kind] for found in rounds] for switch, rounds in kept.items()}
        figures[kind] = {"seconds": spread(times["1"]), "ratio": ratio(times, "1", "0")}
        print(f"{kind}, with oneDNN / without: {shown(figures[kind]['ratio'])}")
    if options.json:
        write(options.json, {"rounds": options.rounds}, figures)


if __name__ == "__main__":
    main()
