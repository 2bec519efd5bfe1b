"""The networks of the latency benchmark in torch, by hand, with the weights of Keras.

Run as a script, this needs only torch, onnx and NumPy: `python torch_networks.py NAME FOLDER` writes torch.onnx.
"""

import sys
from pathlib import Path

import numpy as np

MEAN, STD, SCALE = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26), 1 / 255


def build_torch_network(name):
    """Builds the network in torch; its convolutions and normalisations have the order of the weights in Keras."""
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self, channels, filters, strides, bottleneck):
            super().__init__()
            inner = filters // 4 if bottleneck else filters
            sizes = [(channels, inner, 1, 1), (inner, inner, 3, strides), (inner, filters, 1, 1)]
            sizes = sizes if bottleneck else [(channels, inner, 3, strides), (inner, filters, 3, 1)]
            # With strides, "same" is one row of zeros at the end; resnet50 pads both sides.
            self.behind = not bottleneck and strides == 2
            around = [0 if self.behind and s == 2 else k // 2 for _, _, k, s in sizes]
            self.convs = nn.ModuleList(
                nn.Conv2d(a, b, k, s, p, bias=False) for (a, b, k, s), p in zip(sizes, around, strict=True)
            )
            self.norms = nn.ModuleList(nn.BatchNorm2d(b, 1e-5) for _, b, _, _ in sizes)
            self.strides, self.more, self.project = strides, filters - channels, None
            if bottleneck and self.more:
                self.project = nn.Conv2d(channels, filters, 1, strides, bias=False)
                self.norm = nn.BatchNorm2d(filters, 1e-5)

        def forward(self, x):
            y = functional.pad(x, (0, 1, 0, 1)) if self.behind else x
            for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
                y = norm(conv(y))
                if i + 1 < len(self.convs):
                    y = functional.relu(y)
            if self.project is not None:
                x = self.norm(self.project(x))
            elif self.more:
                x = x[:, :, :: self.strides, :: self.strides]
                x = functional.pad(x, (0, 0, 0, 0, 0, self.more))
            return functional.relu(x + y)

    imagenet = name == "resnet50"
    channels = 64 if imagenet else 16
    layers = [nn.Conv2d(3, channels, 7, 2, 3, bias=False) if imagenet else nn.Conv2d(3, 16, 3, 1, 1, bias=False)]
    layers += [nn.BatchNorm2d(channels, 1e-5), nn.ReLU()]
    layers += [nn.MaxPool2d(3, 2, 1)] if imagenet else []
    stages = zip((256, 512, 1024, 2048), (3, 4, 6, 3), strict=True) if imagenet else ((f, 3) for f in (16, 32, 64))
    for stage, (filters, count) in enumerate(stages):
        for block in range(count):
            layers.append(Block(channels, filters, 2 if stage and not block else 1, imagenet))
            channels = filters
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000 if imagenet else 10)]
    return nn.Sequential(*layers)


def load_endpoint(name, folder):
    """Builds the network with its preprocessing and softmax, and reads the weights."""
    import torch
    from torch import nn

    network = build_torch_network(name).eval()
    with np.load(folder / "weights.npz") as arrays:
        weights = iter([torch.from_numpy(arrays[key]) for key in arrays.files])
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.copy_(next(weights).permute(3, 2, 0, 1))
            elif isinstance(layer, nn.BatchNorm2d):
                for values in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                    values.copy_(next(weights))
            elif isinstance(layer, nn.Linear):
                layer.weight.copy_(next(weights).T)
                layer.bias.copy_(next(weights))
    assert next(weights, None) is None

    class Endpoint(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network
            self.register_buffer("mean", torch.tensor(MEAN))
            self.register_buffer("std", torch.tensor(STD))

        def forward(self, pixels):
            x = (pixels.float() * SCALE - self.mean) / self.std
            return torch.softmax(self.network(x.permute(0, 3, 1, 2)), -1)

    return Endpoint().eval()


def export_torch(name, folder):
    """Writes torch.onnx."""
    import torch

    pixels = torch.from_numpy(np.load(folder / "pixels.npy")[:2])
    torch.onnx.export(
        load_endpoint(name, folder),
        (pixels,),
        str(folder / "torch.onnx"),
        input_names=["image"],
        output_names=["probabilities"],
        dynamic_axes={"image": {0: "batch"}, "probabilities": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )


if __name__ == "__main__":
    export_torch(sys.argv[1], Path(sys.argv[2]))
