"""One worker process, as its parent sees it: an iterator of slices, and the shared memory that they come through."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from typing import Any

import numpy as np

from ..making import BatchMaker
from . import child
from .ring import Filled, Ring


@dataclass
class Slices:
    """Makes the slices of one worker, which come in turn: `first`, `first + step`, and so on.

    Attributes:
        maker: Makes them.
        shard: (rank, count): the slice of each batch that belongs to the parent.
        parts: How many slices that has.
        first, step: Which slices of the run are this worker's.
        ring: Where it puts the images. None: they go through a pipe.
    """

    maker: BatchMaker
    shard: tuple[int, int]
    parts: int
    first: int
    step: int
    ring: Ring | None

    def __call__(self, turn: int) -> "tuple[Filled | np.ndarray, np.ndarray] | Exception":
        """Makes a slice. An error is returned, since grain would raise it with the worker's traceback."""
        batch, part = divmod(self.first + turn * self.step, self.parts)
        epoch, index = divmod(batch, self.maker.batches_per_epoch)
        rank, ranks = self.shard
        try:
            images, labels = self.maker.make(epoch, index, (rank * self.parts + part, ranks * self.parts))
            return (self.ring.put(turn, images) if self.ring else images), labels
        except Exception as error:
            return error


class Worker:
    """A process that makes slices ahead.

    Args:
        slices: What it makes.
        stop: The slice of the run after the last one.
        ahead: How many slices each of the two queues between the process and its parent holds.
    """

    def __init__(self, slices: Slices, stop: int, ahead: int) -> None:
        import grain

        self._ring, self._begun = slices.ring, False
        turns = grain.MapDataset.range(len(range(slices.first, stop, slices.step)))
        # No threads of grain in the worker, and no shared memory of its own.
        made = turns.map(slices).to_iter_dataset(grain.ReadOptions(0, 0))
        made = grain.experimental.WithOptionsIterDataset(
            made, grain.experimental.DatasetOptions(min_shm_size=sys.maxsize)
        )
        options = grain.MultiprocessingOptions(num_workers=1, per_worker_buffer_size=ahead)
        self._iterator = iter(made.mp_prefetch(options, worker_init_fn=child.follow_parent))
        self._waiting: list[Any] = []

    @staticmethod
    def places(ahead: int) -> int:
        """How many slices exist at a time: in the queues, between them, at the parent, and unfinished."""
        return 2 * ahead + 3

    def begin(self) -> None:
        """Waits for the first slice."""
        self._waiting.append(self._next())
        if self._ring:
            self._ring.unlink()

    def take(self) -> Any:
        """Returns the images and labels of the next slice; the images may still be in the ring, for `copy`.

        Raises:
            Exception: The error of the slice.
            ChildProcessError: If the process has died.
        """
        made = self._waiting.pop() if self._waiting else self._next()
        if isinstance(made, Exception):
            raise made
        return made

    def copy(self, images: "Filled | np.ndarray", into: np.ndarray) -> None:
        """Copies the images of a slice, before the next one is taken."""
        if isinstance(images, Filled):
            assert self._ring is not None
            self._ring.take(images, into)
        else:
            into[...] = images

    def close(self) -> None:
        self._iterator.close()
        if self._ring:
            self._ring.remove()

    def _next(self) -> Any:
        try:
            return next(self._iterator)
        except RuntimeError as error:
            what = str(error).partition(". ")[0]
            raise ChildProcessError(f"A worker process that reads photos died, perhaps out of memory: {what}") from None


@contextmanager
def own_main() -> Iterator[None]:
    """Lets processes that start inside run `child` first, and not the user's program again; signals wait until then."""
    main = sys.modules["__main__"]
    before = main.__spec__
    main.__spec__ = ModuleSpec(child.__name__, None)
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, child.SIGNALS) if child.CAN_WAIT else None
    try:
        yield
    finally:
        main.__spec__ = before
        if masked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)
