"""Runs the same networks in PyTorch, eagerly and with channels last, and answers questions for times line by line.

    python benchmarks/layers/pytorch.py NETWORK BATCH

The first line that it writes gives PyTorch's version and the number of trainable parameters. Then it answers each line
"train N" or "infer N" with the mean seconds of N steps. It needs only PyTorch, so that an interpreter without Keras can
run it.
"""

import sys
import time

import torch
from torch import nn
from torch.nn import functional

CIFAR, MNIST, IMAGENET = (3, 32, 32), (1, 28, 28), (3, 224, 224)


def conv(channels, filters, size, strides=1, bias=False):
    return nn.Conv2d(channels, filters, size, strides, size // 2, bias=bias)


def conv_norm(*arguments, relu=True):
    return nn.Sequential(conv(*arguments), nn.BatchNorm2d(arguments[1]), *[nn.ReLU(inplace=True)] * relu)


def norm_relu_conv(*arguments):
    return nn.Sequential(nn.BatchNorm2d(arguments[0]), nn.ReLU(inplace=True), conv(*arguments))


def classifier(channels, classes=10):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class PadShortcut(nn.Module):
    """Takes every second pixel, and appends as many channels of zeros."""

    def forward(self, x):
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, x.shape[1]))


class Residual(nn.Module):
    def __init__(self, branch, shortcut):
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x):
        return functional.relu(self.shortcut(x) + self.branch(x))


class PreActivation(nn.Module):
    def __init__(self, channels, filters, strides):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.branch = nn.Sequential(conv(channels, filters, 3, strides), norm_relu_conv(filters, filters, 3))
        self.projection = conv(channels, filters, 1, strides) if channels != filters else None

    def forward(self, x):
        y = functional.relu(self.norm(x))
        return self.branch(y) + (x if self.projection is None else self.projection(y))


class DenseLayer(nn.Module):
    def __init__(self, channels, growth_rate):
        super().__init__()
        width = 4 * growth_rate
        self.branch = nn.Sequential(norm_relu_conv(channels, width, 1), norm_relu_conv(width, growth_rate, 3))

    def forward(self, x):
        return torch.cat([x, self.branch(x)], 1)


class Highway(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.update, self.transform = conv(channels, channels, 3, 1, True), conv(channels, channels, 3, 1, True)

    def forward(self, x):
        transform = torch.sigmoid(self.transform(x))
        return transform * functional.relu(self.update(x)) + (1 - transform) * x


def resnet(depth):
    parts, channels = [conv_norm(3, 16, 3)], 16
    for filters in (16, 32, 64):
        for _ in range((depth - 2) // 6):
            strides = 1 if filters == channels else 2
            branch = nn.Sequential(conv_norm(channels, filters, 3, strides), conv_norm(filters, filters, 3, relu=False))
            parts.append(Residual(branch, nn.Identity() if strides == 1 else PadShortcut()))
            channels = filters
    return nn.Sequential(*parts, classifier(channels)), CIFAR


def wide_resnet(depth, width):
    parts, channels = [conv(3, 16, 3)], 16
    for filters, strides in ((16 * width, 1), (32 * width, 2), (64 * width, 2)):
        for block in range((depth - 4) // 6):
            parts.append(PreActivation(channels, filters, 1 if block else strides))
            channels = filters
    return nn.Sequential(*parts, nn.BatchNorm2d(channels), nn.ReLU(), classifier(channels)), CIFAR


def densenet_bc(depth, growth_rate):
    channels = 2 * growth_rate
    parts = [conv(3, channels, 3)]
    for block in range(3):
        for _ in range((depth - 4) // 6):
            parts.append(DenseLayer(channels, growth_rate))
            channels += growth_rate
        if block < 2:
            parts += [norm_relu_conv(channels, channels // 2, 1), nn.AvgPool2d(2)]
            channels //= 2
    return nn.Sequential(*parts, nn.BatchNorm2d(channels), nn.ReLU(), classifier(channels)), CIFAR


def resnet50():
    parts, channels = [conv_norm(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)], 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        narrow = 64 << stage
        for block in range(blocks):
            strides = 2 if stage and not block else 1
            branch = nn.Sequential(
                conv_norm(channels, narrow, 1),
                conv_norm(narrow, narrow, 3, strides),
                conv_norm(narrow, 4 * narrow, 1, relu=False),
            )
            shortcut = nn.Identity() if block else conv_norm(channels, 4 * narrow, 1, strides, relu=False)
            parts.append(Residual(branch, shortcut))
            channels = 4 * narrow
    return nn.Sequential(*parts, classifier(channels, 1000)), IMAGENET


def highway_mnist(width):
    parts = [nn.Conv2d(1, width, 5), nn.ReLU()]
    for count in (2, 3, 3):
        parts += [*(Highway(width) for _ in range(count)), nn.MaxPool2d(2, ceil_mode=True)]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(9 * width, 10)), MNIST


def highway19():
    parts, channels = [], 3
    for stage, (width, count) in enumerate(((32, 5), (80, 6), (128, 6))):
        parts += [nn.MaxPool2d(2)] * bool(stage)
        parts += [conv(channels, width, 3, 1, True), nn.ReLU(), *(Highway(width) for _ in range(count - 1))]
        channels = width
    return nn.Sequential(*parts, conv(channels, 100, 1, 1, True), nn.ReLU(), classifier(100)), CIFAR


NETWORKS = {
    "resnet20": lambda: resnet(20),
    "resnet110": lambda: resnet(110),
    "wrn_16_4": lambda: wide_resnet(16, 4),
    "densenet_bc_100_12": lambda: densenet_bc(100, 12),
    "resnet50": resnet50,
    "highway_mnist_16": lambda: highway_mnist(16),
    "highway_mnist_32": lambda: highway_mnist(32),
    "highway19": highway19,
}


def main():
    name, batch = sys.argv[1], int(sys.argv[2])
    network, shape = NETWORKS[name]()
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, nesterov=True)
    images = torch.randn(batch, *shape).to(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch,))

    def train():
        network.train()
        optimizer.zero_grad()
        loss = functional.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    def infer():
        network.eval()
        with torch.inference_mode():
            return network(images).numpy()

    print(torch.__version__, sum(weight.numel() for weight in network.parameters()), flush=True)
    for line in sys.stdin:
        kind, steps = line.split()
        step = {"train": train, "infer": infer}[kind]
        start = time.perf_counter()
        for _ in range(int(steps)):
            step()
        print((time.perf_counter() - start) / int(steps), flush=True)


if __name__ == "__main__":
    main()
