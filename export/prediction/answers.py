"""Turns the outputs of a network into rows: the most probable classes, numbers, or the name of a mask."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from ..predictor import rank_classes
from .inputs import Input
from .network import Network

Cell = str | float | None
FILE, ERROR, MASK = "file", "error", "mask"
# 255 means no class in masks of 8 bits.
MOST_CLASSES = 255
_LONGEST = 80


def list_columns(network: Network, top: int, skips: bool) -> dict[str, type]:
    """Names the columns of the output, each with the type of its cells.

    Args:
        network: The network.
        top: How many classes a row names.
        skips: Whether bad inputs are skipped, and listed with their error.

    Raises:
        ValueError: If the network has fewer classes than `top`, or too many for masks.
    """
    classes = len(network.names)
    most = classes if network.task == "classification" else 1
    if not 1 <= top <= most:
        of = f"from 1 to {most}" if network.task == "classification" else f"1 for {network.task}"
        raise ValueError(f"Expected top to be {of}. Received: top={top}")
    answers: dict[str, type]
    if network.task == "segmentation":
        if classes > MOST_CLASSES:
            raise ValueError(f"Expected at most {MOST_CLASSES} classes for masks of 8 bits. Received: {classes}")
        answers = {MASK: str}
    elif network.task == "regression":
        answers = {f"predicted_{name}" if name in (FILE, ERROR) else name: float for name in network.names}
    else:
        value = "probability" if network.are_probabilities else "score"
        numbers = ["", *map(str, range(2, top + 1))]
        answers = {column + number: kind for number in numbers for column, kind in (("label", str), (value, float))}
    return {FILE: str, **answers} | ({ERROR: str} if skips else {})


def make_answer(network: Network, top: int, masks: Path | None) -> Callable[[Input, int, np.ndarray], list[Cell]]:
    """Makes the function that turns an input, the number of its row and its output into the cells of its answer.

    Args:
        network: The network.
        top: How many classes to name.
        masks: The folder for masks.
    """
    names = network.names

    def numbers(given: Input, row: int, output: np.ndarray) -> list[Cell]:
        return [_shorten(value) for value in output.ravel()]

    def classes(given: Input, row: int, output: np.ndarray) -> list[Cell]:
        best = rank_classes(output, top)
        labels = (None if np.isnan(output[index]) else names[index] for index in best)  # NaN names no class
        return [cell for label, index in zip(labels, best, strict=True) for cell in (label, _shorten(output[index]))]

    def mask(given: Input, row: int, output: np.ndarray) -> list[Cell]:
        assert masks is not None
        name = f"{row:08d}-{_stem(given.name)}.png"
        write_mask(masks / name, find_classes(output, network.channel_axis))
        return [name]

    return {"regression": numbers, "classification": classes, "segmentation": mask}[network.task]


def find_classes(output: np.ndarray, channel_axis: int) -> np.ndarray:
    """Returns the most probable class of each pixel; of one channel, whether it is more probable than not."""
    if output.shape[channel_axis] == 1:
        return (output.take(0, channel_axis) > 0.5).astype("uint8")
    return output.argmax(channel_axis).astype("uint8")


def write_mask(path: Path, classes: np.ndarray) -> None:
    """Writes class indices as a PNG, whose palette only makes the classes visible."""
    from PIL import Image

    image = Image.fromarray(classes)
    image.putpalette(list(_PALETTE))
    image.save(path)


def _palette() -> bytes:
    """The palette of PASCAL VOC, which gives neighbouring classes colours that differ much."""
    colours = bytearray()
    for index in range(256):
        for channel in range(3):
            colours.append(sum((index >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3)))
    return bytes(colours)


_PALETTE = _palette()


def _shorten(value: np.number) -> float | int | None:
    """The shortest number that reads as the same value in its precision; None for NaN and infinity."""
    if isinstance(value, np.floating):
        return float(str(value)) if np.isfinite(value) else None
    return int(value)


def _stem(name: str) -> str:
    return re.sub(r"[^\w-]+", "-", PurePosixPath(name).stem, flags=re.ASCII)[-_LONGEST:]


def make_row(columns: Mapping[str, type], name: str, answer: list[Cell] | None, error: str) -> list[Cell]:
    """Makes a row of an answer, or of empty cells and an error."""
    ends = [error or None] if ERROR in columns else []
    empty: list[Cell] = [None] * (len(columns) - 1 - len(ends))
    return [name, *(empty if answer is None else answer), *ends]
