"""Estimates what a JPEG copy of CIFAR-10 costs in accuracy, by compressing its images a second time.

    python -m benchmarks.training.jpeg_cost --data cifar10.tar.xz [--network resnet20] [--epochs 2]

The original images are not needed. Each image is shifted by half a block, compressed and shifted back, so that the
second compression uses other blocks than the first. The network's CIFAR-10 weights are evaluated on the test images,
fine-tuned on the training images, and evaluated again. The same is done without a second compression, for reference.
The distortion is the root-mean-square change of a pixel value (0 to 255). The estimate is probably too low: the first
compression met images with more detail, so it cost more than the second.
"""

import argparse
import io
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from ..harness import parse_options, write_result

SHIFT = 4  # half a block of 8 x 8 pixels


def compress(images, quality):
    """Compresses images as JPEG, on blocks shifted from those of an earlier compression."""
    return np.stack([_compress_one(image, quality) for image in images])


def _compress_one(image, quality):
    height, width = image.shape[:2]
    around = np.pad(image, ((SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="reflect")
    file = io.BytesIO()
    Image.fromarray(around).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))[SHIFT : SHIFT + height, SHIFT : SHIFT + width]


def distortion(one, other):
    """Returns the root mean square of the difference of two sets of images."""
    return float(np.sqrt(np.mean(np.square(one.astype("float32") - other))))


def main():
    import zoo

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rate", type=float, default=0.02, help="the largest learning rate")
    parser.add_argument("--qualities", type=int, nargs="+", default=[75])
    parser.add_argument("--examples", type=int, default=None, help="only the first training images")
    options = parse_options(parser)
    source = zoo.load_source(options.data)
    source = replace(
        source,
        train_inputs=source.train_inputs[: options.examples],
        train_targets=source.train_targets[: options.examples],
    )
    settings = {"weights": "cifar10", "optimizer.lr": options.rate, "augment.cutout": 0}
    figures = {}
    for quality in (None, *options.qualities):
        again = source
        if quality is not None:
            train, test = (compress(x, quality) for x in (source.train_inputs, source.test_inputs))
            again = replace(source, train_inputs=train, test_inputs=test)
        before = zoo.evaluate(options.network, weights="cifar10", data=again)["accuracy"]
        with tempfile.TemporaryDirectory() as folder:
            recipe = f"{options.network}_cifar10_fast"
            run = zoo.train(recipe, again, Path(folder) / "run", epochs=options.epochs, **settings)
        name = "as it is" if quality is None else f"quality {quality}"
        figures[name] = found = {
            "distortion": distortion(source.test_inputs, again.test_inputs),
            "before": before,
            "after": run.results["test_accuracy"],
        }
        print(f"{name}: " + ", ".join(f"{key} {value:.4f}" for key, value in found.items()), flush=True)
    if options.json:
        write_result(options.json, {"network": options.network, "epochs": options.epochs}, figures)


if __name__ == "__main__":
    main()
