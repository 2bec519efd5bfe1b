"""Reads and writes batches of arrays by name in one `.npz`, which is not compressed, so its size shows its content."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

# The array of each input or output by name; the first axis counts examples.
Batch = dict[str, np.ndarray]


def write_batches(path: Path, batches: Mapping[str, Batch]) -> None:
    """Writes batches to a file that appears whole or not at all."""
    arrays = {f"{i}/{name}": x for i, batch in enumerate(batches.values()) for name, x in batch.items()}
    beside = path.with_name(f"{path.name}.part")
    with beside.open("wb") as file:
        np.savez(file, allow_pickle=False, names=np.array(list(batches), dtype=str), **arrays)
    os.replace(beside, path)


def read_batches(path: Path) -> dict[str, Batch]:
    """Reads batches from a file of `write_batches`."""
    batches: dict[str, Batch] = {}
    with np.load(path, allow_pickle=False) as arrays:
        names = [str(name) for name in arrays["names"]]
        batches = {name: {} for name in names}
        for key in arrays.files:
            number, _, name = key.partition("/")
            if name:
                batches[names[int(number)]][name] = arrays[key]
    return batches
