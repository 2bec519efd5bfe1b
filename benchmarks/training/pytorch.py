"""Reads photos with PyTorch's DataLoader and torchvision's RandomResizedCrop, and answers questions line by line.

    python benchmarks/training/pytorch.py FOLDER BATCH WORKERS

See `answer` in photos.py. It needs PyTorch and torchvision, so that an interpreter without Keras can run it.
"""

import itertools
import sys

import torch
import torchvision
from photos import AREA, MEAN, RATIO, SIZE, STD, answer
from torchvision import transforms


def main():
    folder, batch, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    # Pillow decodes; the interpolation is bilinear, with antialiasing.
    steps = [
        transforms.RandomResizedCrop(SIZE, AREA, RATIO),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
    images = torchvision.datasets.ImageFolder(folder, transforms.Compose(steps))
    order = torch.utils.data.RandomSampler(images, replacement=True, num_samples=10**9)
    loader = torch.utils.data.DataLoader(images, batch, sampler=order, num_workers=workers, persistent_workers=True)
    answer(itertools.chain.from_iterable(itertools.repeat(loader)), f"{torch.__version__}, {torchvision.__version__}")


if __name__ == "__main__":
    main()
