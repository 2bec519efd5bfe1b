"""A training step of the zoo's resnet20 against the same network written by hand, in plain Keras and in PyTorch.

    python benchmarks/resnet20_step.py [--batch 128] [--steps 10] [--rounds 7]

All train in one process, alternately, on the same random images, with SGD and momentum, in float32. Keras runs as the
zoo trains: on TensorFlow and a CPU without XLA. PyTorch, where it is installed, runs eagerly with channels last. The
figures are ratios of the times of a round, their minimum, median and maximum over the rounds.
"""

import argparse
import importlib.util
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


def keras_step(model, x, y):
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=keras.backend.backend() == "jax")
    return lambda: model.train_on_batch(x, y)


def torch_step(x, y):
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self, channels, filters):
            super().__init__()
            self.halves = filters > channels
            self.conv1 = nn.Conv2d(channels, filters, 3, 2 if self.halves else 1, 1, bias=False)
            self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
            self.norm1, self.norm2 = nn.BatchNorm2d(filters), nn.BatchNorm2d(filters)

        def forward(self, x):
            update = self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(x)))))
            if self.halves:
                x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, x.shape[1]))
            return functional.relu(x + update)

    widths = [16] * 4 + [32] * 3 + [64] * 3
    blocks = [Block(*pair) for pair in zip(widths, widths[1:], strict=False)]
    stem = (nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    network = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, nesterov=True)
    images = torch.from_numpy(x).permute(0, 3, 1, 2)  # a view: channels stay last in memory
    labels = torch.from_numpy(y)

    def step():
        optimizer.zero_grad()
        loss = functional.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def seconds(step, steps):
    start = time.perf_counter()
    for _ in range(steps):
        step()
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
    ours, plain = zoo.build("resnet20"), by_hand()
    assert len(ours.trainable_variables) == len(plain.trainable_variables)
    steps = {"zoo": keras_step(ours, x, y), "plain Keras": keras_step(plain, x, y)}
    if importlib.util.find_spec("torch"):
        steps["PyTorch"] = torch_step(x, y)
    for step in steps.values():
        seconds(step, 3)
    rounds = []
    for number in range(options.rounds):
        # Whoever comes first changes from round to round.
        names = list(steps)[number % len(steps) :] + list(steps)[: number % len(steps)]
        rounds.append({name: seconds(steps[name], options.steps) for name in names})
        times = ", ".join(f"{name} {rounds[-1][name]:.4f} s" for name in steps)
        print(f"round {number + 1}/{options.rounds}: {times}", flush=True)
    for name in list(steps)[1:]:
        ratios = [times["zoo"] / times[name] for times in rounds]
        figures = f"minimum {min(ratios):.3f}, median {statistics.median(ratios):.3f}, maximum {max(ratios):.3f}"
        print(f"zoo / {name}: {figures}")


if __name__ == "__main__":
    main()
