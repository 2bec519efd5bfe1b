"""Trains on a folder of photos twice: uninterrupted, and killed in the middle of epochs. The weights must agree.

    python -m benchmarks.training.killed [--photos 20000] [--network resnet18] [--size 64] [--epochs 1] [--kills 2]

The photos are JPEGs of 64 to 420 pixels in class folders: parts of the two photos of scikit-learn, and its digits; with
KERAS_SKIP_DATA, the folder of cifar10.tar.xz, CIFAR-10 too. `keras-skip train --stream` reads them, with random-resized
crops, and SIGKILL ends it after a checkpoint within an epoch. It prints whether the weights of the two runs are the
same bit for bit, and which processes outlived one that was killed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

SIDES = 64, 420
# How long worker processes may take to notice that their parent is gone.
PATIENCE = 30


def make_photos(folder: Path, count: int, seed: int = 0) -> None:
    """Writes photos of various sizes into a folder for each class."""
    rng = np.random.default_rng(seed)
    classes = list(_classes())
    for number in range(count):
        name, pictures = classes[number % len(classes)]
        picture = Image.fromarray(pictures[rng.integers(len(pictures))])
        height, width = rng.integers(*SIDES, 2)
        share = rng.uniform(0.3, 1)
        left, top = rng.uniform(0, 1 - share, 2)
        box = (left * picture.width, top * picture.height)
        box = (*box, box[0] + share * picture.width, box[1] + share * picture.height)
        picture = picture.resize((int(width), int(height)), Image.Resampling.BILINEAR, box)
        if rng.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        path = folder / name / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, quality=90)


def _classes() -> Iterator[tuple[str, Any]]:
    from sklearn.datasets import load_digits, load_sample_image

    for name in ("china", "flower"):
        yield name, [load_sample_image(f"{name}.jpg")]
    yield "digit", np.uint8(load_digits().images * 15)
    if "KERAS_SKIP_DATA" in os.environ:
        import zoo

        cifar = zoo.load_source(Path(os.environ["KERAS_SKIP_DATA"], "cifar10.tar.xz"))
        for label, name in enumerate(cifar.class_names):
            yield name, cifar.test_inputs[np.flatnonzero(cifar.test_targets == label)]


def kill_after(process: Any, run: Path, step: int, steps_per_epoch: int) -> list[psutil.Process]:
    """Kills a training after a checkpoint within an epoch, of this step or a later one.

    Returns:
        The processes that it had started, and that still live.
    """
    while not any(number >= step and number % steps_per_epoch for number in _checkpoints(run)):
        if not psutil.pid_exists(process.pid) or psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE:
            raise RuntimeError(f"The training in {run} ended before a checkpoint of step {step}")
        time.sleep(0.01)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    return psutil.wait_procs(children, PATIENCE)[1]


def _checkpoints(run: Path) -> list[int]:
    return [int(path.stem.partition("-")[2]) for path in run.glob("checkpoints/step-*.npz")]


def train_twice(
    start: Callable[..., Any], command: list[str], folder: Path, steps: list[int], steps_per_epoch: int
) -> list[psutil.Process]:
    """Trains in folder/whole without a pause, and in folder/killed with a kill after each of these steps.

    Args:
        start: Starts `keras-skip` with arguments.
        command: The arguments of the training but for --out.
        folder: The folder of the two runs.
        steps: The steps.
        steps_per_epoch: How many an epoch has.

    Returns:
        The processes that outlived one that was killed.
    """
    ended = start(*command, "--out", str(folder / "whole")).wait()
    assert getattr(ended, "returncode", ended) == 0, ended
    left, run = [], folder / "killed"
    for number, step in enumerate(steps):
        again = ["train", "--resume", str(run)] if number else [*command, "--out", str(run)]
        left += kill_after(start(*again), run, step, steps_per_epoch)
    ended = start("train", "--resume", str(run)).wait()
    assert getattr(ended, "returncode", ended) == 0, ended
    return left


def are_same(folder: Path) -> bool:
    """Whether the two runs have the same weights, bit for bit."""
    import zoo

    one, other = (zoo.load(folder / name).get_weights() for name in ("whole", "killed"))
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=20000)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--kills", type=int, default=2)
    options = parser.parse_args()
    command = [
        "train",
        options.network,
        "--stream",
        "--image-size",
        str(options.size),
        "--batch-size",
        str(options.batch),
    ]
    command += ["--epochs", str(options.epochs), "--set", "augment.crop_area=(0.3,1.0)", "--set", "augment.flip=True"]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_photos(folder / "photos", options.photos)
        print(f"{options.photos} photos", flush=True)
        # A fifth of each class is for testing.
        per_epoch = -(-(options.photos * 4 // 5) // options.batch)
        every = max(1, per_epoch // 10)
        command += ["--data", str(folder / "photos"), "--checkpoint-steps", str(every)]
        total = per_epoch * options.epochs
        steps = [total * (number + 1) // (options.kills + 1) for number in range(options.kills)]

        def start(*arguments: str) -> subprocess.Popen:
            return subprocess.Popen([sys.executable, "-m", "zoo.cli", *arguments], cwd=folder)

        left = train_twice(start, command, folder, steps, per_epoch)
        resumed = [(one["epoch"], one["batch"]) for one in _record(folder / "killed")["resumed"]]
        print(f"resumed at (epoch, batch) {resumed}, of {per_epoch} batches")
        print(f"processes that outlived one that was killed: {left}")
        print(f"same weights: {are_same(folder)}")


def _record(run: Path) -> dict[str, Any]:
    import zoo

    return zoo.open_run(run).record


if __name__ == "__main__":
    main()
