"""Times exported networks under onnxruntime: against the same ones from torch.onnx, and in int8 against fp32.

    python -m benchmarks.export.latency [--torch PYTHON] [--networks resnet20 resnet50] [--rounds 40]

The networks are new. Both exports take uint8 pixels, channels last, and give probabilities; both include the
preprocessing. --torch names an interpreter that has torch and onnx: there a network written by hand takes the weights,
and must give the same probabilities. int8 is calibrated on random pixels, which suffice to measure its time. Sessions
have onnxruntime's defaults, and run alternately in one process on batches of 1 and 32; a ratio compares two times of
one round.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

MEAN, STD, SCALE = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26), 1 / 255
BATCHES = (1, 32)


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


def export_torch(name, folder):
    """Reads the weights and writes torch.onnx; runs in the interpreter that has torch."""
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

    pixels = torch.from_numpy(np.load(folder / "pixels.npy"))
    torch.onnx.export(
        Endpoint().eval(),
        (pixels,),
        str(folder / "torch.onnx"),
        input_names=["image"],
        output_names=["probabilities"],
        dynamic_axes={"image": {0: "batch"}, "probabilities": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )


def list_weights(model):
    """Returns the weights in the order of torch: layer by layer, and those of a block's shortcut last."""
    import keras

    def leaves(layer):
        children = [child for child in layer._flatten_layers(include_self=False, recursive=False)]
        return [layer] if not children else [leaf for child in children for leaf in leaves(child)]

    arrays = []
    for layer in model.layers:
        kept = [leaf for leaf in leaves(layer) if leaf.weights]
        # torch lists a block's convolutions, then its normalisations.
        shortcut = [leaf for leaf in kept if "projection" in leaf.path]
        branch = [leaf for leaf in kept if leaf not in shortcut]
        norms = [leaf for leaf in branch if isinstance(leaf, keras.layers.BatchNormalization)]
        ordered = [leaf for leaf in branch if leaf not in norms] + norms + shortcut
        arrays += [weight.numpy() for leaf in ordered for weight in leaf.weights]
    return arrays


def write_files(name, folder, torch_python):
    """Writes the ONNX files; returns their paths by name, and pixels to run them on."""
    import export
    import zoo
    from export.precision.int8 import quantise_to_int8
    from export.precision.quantisation import choose_settings

    model = zoo.build(name)
    pixels = np.random.default_rng(0).integers(0, 256, (max(BATCHES), *model.input_shape[1:]), dtype="uint8")
    raw = export.Preprocessing("uint8", scale=SCALE, mean=MEAN, std=STD)
    ours = export.to_onnx(model, folder / "ours.onnx", preprocessing=raw, activation="softmax")
    found = {"ours": ours, "int8": folder / "int8.onnx"}
    chosen = choose_settings()
    quantise_to_int8(ours, found["int8"], [{"image": pixels}], chosen.activations, chosen.reduce_range)
    if torch_python:
        np.savez(folder / "weights.npz", *list_weights(model))
        np.save(folder / "pixels.npy", pixels[:2])
        subprocess.run([torch_python, __file__, "--export", name, str(folder)], check=True)
        found["torch.onnx"] = folder / "torch.onnx"
    return found, pixels


def race(name, torch_python, rounds):
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        paths, pixels = write_files(name, Path(folder), torch_python)
        sessions = {
            key: onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]) for key, path in paths.items()
        }
    answers = {key: session.run(None, {"image": pixels})[0] for key, session in sessions.items()}
    if torch_python:
        difference = np.max(np.abs(answers["ours"] - answers["torch.onnx"]))
        assert difference < 1e-5, f"Expected the same network. Received: probabilities that differ by {difference}"
    for batch in BATCHES:
        times = []
        for number in range(rounds + 2):
            keys = list(sessions)[number % len(sessions) :] + list(sessions)[: number % len(sessions)]
            taken = {}
            for key in keys:
                start = time.perf_counter()
                sessions[key].run(None, {"image": pixels[:batch]})
                taken[key] = time.perf_counter() - start
            times.append(taken)
        for numerator, denominator in (("ours", "torch.onnx"), ("ours", "int8")):
            if denominator in sessions:
                # The first two rounds warm up.
                ratios = [taken[numerator] / taken[denominator] for taken in times[2:]]
                milliseconds = [statistics.median(taken[key] for taken in times[2:]) * 1e3 for key in paths]
                line = ", ".join(f"{key} {value:.2f} ms" for key, value in zip(paths, milliseconds, strict=True))
                figures = (
                    f"minimum {min(ratios):.3f}, median {statistics.median(ratios):.3f}, maximum {max(ratios):.3f}"
                )
                print(f"{name}, batch {batch}: {numerator} / {denominator}: {figures} ({line})", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter that has torch and onnx")
    parser.add_argument("--networks", nargs="+", default=["resnet20", "resnet50"])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--export", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.export:
        export_torch(options.export[0], Path(options.export[1]))
        return
    from export.precision.quantisation import choose_settings

    print(f"{os.cpu_count()} cores, {choose_settings()}", flush=True)
    for name in options.networks:
        race(name, options.torch, options.rounds)


if __name__ == "__main__":
    sys.exit(main())
