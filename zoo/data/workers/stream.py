"""Batches that worker processes make ahead, in slices that are joined in order.

    slice k of the run  ->  worker k % workers, by grain  ->  shared memory  ->  its batch

The position is that of the next batch, a number: what workers have made ahead of it is made again after a resumption.
"""

import sys
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib.machinery import ModuleSpec
from math import prod
from shutil import disk_usage
from typing import Any

import numpy as np

from ..making import BatchMaker
from . import child

Batch = tuple[np.ndarray, np.ndarray]
# The examples of a slice. Workers and the queues between them hold few slices each, so this bounds the memory.
SLICE = 32
# Keras's two threads may ask for a batch before the one before it, and Keras looks at the first two batches of a fit
# before it asks for them again.
_KEPT = 3
# Where Linux has its shared memory.
_SHARED = "/dev/shm"
_starting = threading.Lock()


class WorkerStream:
    """Batches by epoch and index, for which worker processes work ahead of the last one.

    Args:
        maker: Makes the slices, in the workers.
        shard: (rank, count): the slice of each batch that belongs to this process.
        workers: How many processes there are at most.
    """

    def __init__(self, maker: BatchMaker, shard: tuple[int, int], workers: int) -> None:
        self.maker, self.shard, self.workers = maker, shard, workers
        self.slices = -(-maker.batch_size // shard[1] // SLICE)
        self.batches_per_epoch = -(-len(maker.images) // maker.batch_size)
        self._iterators: list[Iterator[Any]] = []
        self._first: list[Any] = []
        self._made: dict[int, Batch] = {}
        self._start = self._next = self._stop = 0
        self._lock = threading.Lock()
        # Also when the program ends, and in time: later, grain would complain of modules that are gone.
        weakref.finalize(self, _close_each, self._iterators, self._first)

    def batch(self, epoch: int, index: int) -> Batch:
        """Returns a batch. The workers start again unless it is among the last ones or the next ones."""
        number = epoch * self.batches_per_epoch + index
        with self._lock:
            if number not in self._made and not (self._iterators and self._next <= number < self._next + _KEPT):
                self._begin(number, self.batches_per_epoch * max(self.maker.epochs, epoch + 1))
            try:
                while self._next <= number:
                    self._made[self._next] = self._join(self._next)
                    self._next += 1
            except BaseException:
                self._end()
                raise
            if self._next == self._stop:
                self._end()
            found = self._made[number]
            self._made = {near: made for near, made in self._made.items() if near > number - _KEPT}
            return found

    def close(self) -> None:
        """Ends the workers. The next batch would start others."""
        with self._lock:
            self._end()

    def _begin(self, number: int, stop: int) -> None:
        import grain
        from absl import flags

        # grain reads one of its flags without asking whether the program parses any.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        self._end()
        self._made.clear()
        self._start, self._next, self._stop = number * self.slices, number, stop
        slices = grain.MapDataset.range(self._start, stop * self.slices)
        workers = min(self.workers, len(slices))
        make = partial(_make, self.maker, self.shard, self.slices)
        # Two queues of this length for each worker hold a batch together.
        ahead = -(-self.slices // (2 * workers))
        options = grain.MultiprocessingOptions(num_workers=1, per_worker_buffer_size=ahead)
        shared = grain.experimental.DatasetOptions(min_shm_size=self._least_shared(workers * (2 * ahead + 2)))
        for worker in range(workers):
            # One thread reads all the slices of a worker.
            made = slices[worker::workers].map(make).to_iter_dataset(grain.ReadOptions(0, 0))
            made = grain.experimental.WithOptionsIterDataset(made, shared)
            self._iterators.append(iter(made.mp_prefetch(options, worker_init_fn=child.follow_parent)))
        try:
            with _own_main(), ThreadPoolExecutor(workers) as pool:
                self._first.extend(pool.map(_take, self._iterators))
        except BaseException:
            self._end()
            raise

    def _least_shared(self, slices: int) -> int:
        """From how many bytes on arrays come in shared memory; containers often have too little for so many slices."""
        needed = slices * SLICE * prod(self.maker.images.shape[1:]) * np.float32().itemsize
        try:
            return 0 if needed < disk_usage(_SHARED).free else sys.maxsize
        except OSError:
            return 0

    def _join(self, number: int) -> Batch:
        """Joins the slices of the next batch."""
        whole: list[np.ndarray] = []
        filled = 0
        for place in range(number * self.slices, (number + 1) * self.slices):
            place -= self._start
            made = self._first[place] if place < len(self._first) else _take(self._iterators[place % len(self._first)])
            if place < len(self._first):
                self._first[place] = None
            if isinstance(made, Exception):
                raise made
            whole = whole or [np.empty((self._examples(number), *part.shape[1:]), part.dtype) for part in made]
            for array, part in zip(whole, made, strict=True):
                array[filled : filled + len(part)] = part
            filled += len(made[0])
        return whole[0], whole[1]

    def _examples(self, number: int) -> int:
        """How many examples of a batch belong to this process."""
        size, (rank, ranks) = self.maker.batch_size, self.shard
        count = min(size, len(self.maker.images) - number % self.batches_per_epoch * size)
        return (rank + 1) * count // ranks - rank * count // ranks

    def _end(self) -> None:
        if self._iterators:
            # Each may take half a second to notice.
            with ThreadPoolExecutor(len(self._iterators)) as pool:
                list(pool.map(lambda iterator: iterator.close(), self._iterators))
        _close_each(self._iterators, self._first)


def _close_each(iterators: list[Any], first: list[Any]) -> None:
    first.clear()
    while iterators:
        iterators.pop().close()


def _make(maker: BatchMaker, shard: tuple[int, int], slices: int, number: int) -> "Batch | Exception":
    """Makes a slice in a worker. An error is returned, since grain would raise it with the worker's traceback."""
    (rank, ranks), (batch, part) = shard, divmod(number, slices)
    epoch, index = divmod(batch, -(-len(maker.images) // maker.batch_size))
    try:
        return maker.make(epoch, index, (rank * slices + part, ranks * slices))
    except Exception as error:
        return error


def _take(iterator: Iterator[Any]) -> Any:
    try:
        return next(iterator)
    except RuntimeError as error:
        what = str(error).partition(". ")[0]
        raise ChildProcessError(f"A process that reads photos died, perhaps for lack of memory: {what}") from None


@contextmanager
def _own_main() -> Iterator[None]:
    """Lets processes that start inside run `child` first, and not the user's program again."""
    main = sys.modules["__main__"]
    with _starting:
        before = main.__spec__
        main.__spec__ = ModuleSpec(child.__name__, None)
        try:
            yield
        finally:
            main.__spec__ = before
