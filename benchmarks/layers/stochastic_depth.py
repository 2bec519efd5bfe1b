"""Compares a training step of stochastic_resnet110 with one of resnet110: how much a dropped block really saves.

    python -m benchmarks.layers.stochastic_depth [--depth 110] [--batch 128] [--draws 120]

Both train alternately in one process on the same random images, as the zoo trains: on TensorFlow and a CPU without XLA.
The benchmark also measures processor time, which other load on the machine changes less.

The moving statistics of a block show whether a step has run it. A least-squares fit of the step's processor time to the
number of blocks that ran in each stage gives the cost of a block of each stage, and so the time of the step at the mean
of the draws, without the luck of the draws. Blocks of all stages have equal multiply-adds, but those of the first take
longer, and are dropped least. So the mean of the draws weighs more in time than in blocks.

The first step takes longer: TensorFlow builds and optimises a function for each alternative of each block, and for its
gradient. Two blocks could share these only if they differed in nothing but their weights, and we cannot know that of an
activation, a normalisation or a layer that a user passes in.
"""

import argparse
import time

import numpy as np

from ..harness import compile_for_training, parse_options, random_batch, time_by_both_clocks, write_result


def list_blocks(model):
    return [[layer for layer in model.layers if layer.name.startswith(f"stage{stage}_")] for stage in (1, 2, 3)]


def read_statistics(stages):
    import keras

    return [[keras.ops.convert_to_numpy(block.norm1.moving_mean).copy() for block in stage] for stage in stages]


def trace(model, x, y):
    """Returns a training step as a function, and the times of the first one with the size of its graph."""
    import tensorflow as tf

    x, y = tf.constant(x), tf.constant(y)
    start = time.perf_counter()
    step = tf.function(lambda x, y: model.train_step((x, y))).get_concrete_function(x, y)
    middle = time.perf_counter()
    step(x, y)
    end = time.perf_counter()
    graph = step.graph.as_graph_def()
    functions = graph.library.function
    first = {
        "to trace the first step (s)": middle - start,
        "to optimise and run it (s)": end - middle,
        "functions in its graph": len(functions),
        "operations in its graph": len(graph.node) + sum(len(function.node_def) for function in functions),
    }
    return lambda: step(x, y), first


def measure(depth, batch, draws):
    """Returns the figures of the module's docstring, by name."""
    from zoo.networks.small_images.resnet import cifar_resnet, stochastic_resnet

    side = (32, 32, 3)
    x, y = random_batch(side, batch)
    plain, stochastic = (compile_for_training(make(side, depth=depth)) for make in (cifar_resnet, stochastic_resnet))
    steps, first = zip(*(trace(model, x, y) for model in (plain, stochastic)), strict=True)
    stages = list_blocks(stochastic)
    times, ran = [], []
    before = read_statistics(stages)
    for draw in range(draws):
        order = (0, 1) if draw % 2 else (1, 0)
        taken = {number: time_by_both_clocks(steps[number]) for number in order}
        after = read_statistics(stages)
        pairs = [zip(old, new, strict=True) for old, new in zip(before, after, strict=True)]
        ran.append([sum(bool(np.any(a != b)) for a, b in stage) for stage in pairs])
        times.append((taken[0], taken[1]))
        before = after
    return summarise(stages, np.array(times), np.array(ran), first)


def summarise(stages, times, ran, first):
    """Returns the figures by name; `times` has the axes draw, network, and kind of time."""
    ratios = times[:, 1] / times[:, 0]
    blocks = [len(stage) for stage in stages]
    survival = [sum(block.survival_prob for block in stage) for stage in stages]
    processor = times[:, :, 1]
    terms = np.column_stack([np.ones(len(ran)), ran])
    fixed, *costs = np.linalg.lstsq(terms, processor[:, 1], rcond=None)[0]
    result = {
        f"{network}, {name}": value
        for network, found in zip(("resnet", "stochastic"), first, strict=True)
        for name, value in found.items()
    }
    # The extra time of the first step, divided by what each later step saves.
    plain_first, stochastic_first = (
        found["to trace the first step (s)"] + found["to optimise and run it (s)"] for found in first
    )
    result |= {
        "steps that make up for the first": (stochastic_first - plain_first) / (times[:, 0, 0] - times[:, 1, 0]).mean(),
        "step, resnet, median (s)": np.median(times[:, 0, 0]),
        "step, stochastic, median (s)": np.median(times[:, 1, 0]),
        "blocks that ran": ran.sum() / (len(ran) * sum(blocks)),
        "blocks that run on average": sum(survival) / sum(blocks),
    }
    for kind, name in enumerate(("clock", "processor")):
        result |= {
            f"ratio by the {name}, minimum": ratios[:, kind].min(),
            f"ratio by the {name}, median": np.median(ratios[:, kind]),
            f"ratio by the {name}, maximum": ratios[:, kind].max(),
            f"ratio by the {name}, sums": times[:, 1, kind].sum() / times[:, 0, kind].sum(),
        }
    plain, whole, mean = processor[:, 0].mean(), fixed + np.dot(costs, blocks), fixed + np.dot(costs, survival)
    result |= {
        f"a step's share of stage {stage}": share / whole for stage, share in enumerate(np.multiply(costs, blocks), 1)
    }
    result |= {
        "a step's share that never drops": fixed / whole,
        "mean of the draws / every block": mean / whole,
        "mean of the draws / resnet": mean / plain,
    }
    return {name: float(value) for name, value in result.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=110)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--draws", type=int, default=120)
    options = parse_options(parser)
    result = measure(options.depth, options.batch, options.draws)
    for name, value in result.items():
        print(f"{name:44}{value:12.3f}")
    if options.json:
        write_result(options.json, {"depth": options.depth, "batch": options.batch, "draws": options.draws}, result)


if __name__ == "__main__":
    main()
