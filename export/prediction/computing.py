"""Reads inputs in threads and computes their outputs, in the order of the inputs.

The inputs are cut into groups, which are the batches. Groups are the same wherever a prediction resumes,
since the last digit of an answer may depend on the batch.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ..errors import ExportError
from ..model.inputs import fit_type
from .inputs import Input, read_inputs
from .network import Network

# An output, or the reason why there is none.
Output: TypeAlias = np.ndarray | str
# Groups that are read ahead, for each thread.
_AHEAD = 2


@dataclass(frozen=True)
class Groups:
    """Inputs in groups of equal size, except the last.

    Attributes:
        paths, network, out: What `read_inputs` takes.
        size: The number of inputs in a group.
        start: How many inputs to skip at the beginning, a multiple of the size.
    """

    paths: Sequence[str]
    network: Network
    out: Path
    size: int
    start: int = 0

    def __iter__(self) -> Iterator[Sequence[Input]]:
        inputs = read_inputs(self.paths, self.network, self.out)
        # The first input of the group counts the bytes of those that were skipped.
        read = sum(given.read for given in islice(inputs, self.start))
        while group := list(islice(inputs, self.size)):
            yield [replace(group[0], read=group[0].read + read), *group[1:]]
            read = 0


Compute: TypeAlias = Callable[[Groups], Iterator[tuple[Sequence[Input], list[Output]]]]


def compute_here(network: Network) -> Compute:
    """Makes a function that computes the outputs of groups of inputs in this process."""

    def compute(groups: Iterable[Sequence[Input]]) -> Iterator[tuple[Sequence[Input], list[Output]]]:
        threads = min(8, os.cpu_count() or 1)
        waiting: deque[tuple[Sequence[Input], Future[list[Output]]]] = deque()
        with ThreadPoolExecutor(threads) as pool:
            try:
                for group in groups:
                    waiting.append((group, pool.submit(load_group, network, group)))
                    if len(waiting) > threads * _AHEAD:
                        first, loaded = waiting.popleft()
                        yield first, run_group(network, loaded.result())
                for first, loaded in waiting:
                    yield first, run_group(network, loaded.result())
            finally:
                pool.shutdown(cancel_futures=True)

    return compute


def load_group(network: Network, group: Sequence[Input]) -> list[Output]:
    """Reads inputs as the network takes them; gives the reason for each that cannot be read."""
    return [_load(network, given) for given in group]


def run_group(network: Network, inputs: Sequence[Output]) -> list[Output]:
    """Computes the outputs of inputs, in one batch for each shape; passes on the reasons."""
    outputs: list[Output] = list(inputs)
    shapes: dict[tuple[int, ...], list[int]] = {}
    for index, given in enumerate(inputs):
        if not isinstance(given, str):
            shapes.setdefault(given.shape, []).append(index)
    for indices in shapes.values():
        batch = np.stack([inputs[index] for index in indices])
        for index, output in zip(indices, _run(network, batch), strict=True):
            outputs[index] = output
    return outputs


def _run(network: Network, batch: np.ndarray) -> list[Output]:
    try:
        return list(network.run(batch))
    except ExportError as error:
        if len(batch) == 1:
            return [str(error)]
    # One of them does not fit, such as an image that is too small for a network of any size.
    return [output for index in range(len(batch)) for output in _run(network, batch[index : index + 1])]


def _load(network: Network, given: Input) -> Output:
    try:
        if given.data is None:
            return given.reason
        if isinstance(given.data, np.ndarray):
            return _check_array(network, given.data)
        return _load_image(network, given.data)
    except OSError as error:
        return error.strerror or str(error)
    except ValueError as error:
        return str(error)


def _load_image(network: Network, data: Path | bytes) -> np.ndarray:
    assert network.reader is not None
    pixels = network.reader(data.read_bytes() if isinstance(data, Path) else data)
    return np.ascontiguousarray(np.moveaxis(pixels, -1, network.channel_axis))


def _check_array(network: Network, x: np.ndarray) -> np.ndarray:
    fits = x.ndim == len(network.shape) and all(
        size in (None, own) for size, own in zip(network.shape, x.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in network.shape)
        raise ValueError(f"Expected an input of shape ({wanted}). Received: shape {x.shape}")
    x = fit_type(x, np.dtype(network.dtype))
    if x.dtype != network.dtype:
        raise ValueError(f"Expected an input of dtype {network.dtype}. Received: dtype {x.dtype}")
    return x
