"""A training step of the zoo's resnet20 against the same network written by hand in plain Keras.

    python benchmarks/resnet20_step.py [--batch 128] [--steps 10] [--rounds 7]

Both train in one process, alternately, on the same random images; the figure is the ratio of the two times, its
minimum, median and maximum over the rounds.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers

import zoo


def by_hand():
    def norm(x):
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)

    def conv(x, filters, strides=1):
        return layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)

    image = keras.Input((32, 32, 3))
    x = layers.ReLU()(norm(conv(image, 16)))
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(3):
            strides = 2 if stage and not block else 1
            update = norm(conv(layers.ReLU()(norm(conv(x, filters, strides))), filters))
            if strides == 2:
                x = keras.ops.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (0, filters // 2)))
            x = layers.ReLU()(x + update)
    return keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def compiled(model):
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=keras.backend.backend() == "jax")
    return model


def seconds(model, x, y, steps):
    start = time.perf_counter()
    for _ in range(steps):
        model.train_on_batch(x, y)
    return (time.perf_counter() - start) / steps


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10, help="in each round, of each network")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(options.batch, 32, 32, 3)).astype("float32")
    y = rng.integers(0, 10, options.batch)
    ours, plain = compiled(zoo.build("resnet20")), compiled(by_hand())
    assert len(ours.trainable_variables) == len(plain.trainable_variables)
    for model in (ours, plain):
        seconds(model, x, y, 3)
    times = []
    for number in range(options.rounds):
        # Whoever comes first changes from round to round.
        first, second = (ours, plain) if number % 2 else (plain, ours)
        pair = {id(model): seconds(model, x, y, options.steps) for model in (first, second)}
        times.append((pair[id(ours)], pair[id(plain)]))
        print(
            f"round {number + 1}/{options.rounds}: zoo {times[-1][0]:.4f} s, by hand {times[-1][1]:.4f} s", flush=True
        )
    ratios = sorted(a / b for a, b in times)
    print(f"zoo / by hand: minimum {ratios[0]:.3f}, median {statistics.median(ratios):.3f}, maximum {ratios[-1]:.3f}")


if __name__ == "__main__":
    main()
