"""Batches that worker processes make ahead, in slices that are joined in order.

    slice k of the run  ->  worker k % workers, by grain  ->  shared memory  ->  its batch

The only state is the number of the next batch. When a run is resumed, slices that were made ahead are made again.
"""

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from math import prod
from shutil import disk_usage

import numpy as np

from ..making import BatchMaker
from .ring import Ring
from .worker import Slices, Worker, own_main

Batch = tuple[np.ndarray, np.ndarray]
# Examples in a slice. Workers and the queues between them hold a few slices each, so this bounds the memory.
SLICE = 32
# How many batches are kept: Keras's two threads may ask for batches out of order, and Keras looks at the first two
# batches of a fit before it asks for them again.
_KEPT = 3
# Where Linux has its shared memory, of which containers often have little.
_SHARED = "/dev/shm"
_starting = threading.Lock()


class WorkerStream:
    """Batches by epoch and index. Worker processes make those that come after the last one that was asked for.

    Args:
        maker: Makes the slices, in the workers.
        shard: (rank, count): the slice of each batch that belongs to this process.
        workers: The largest number of worker processes.
    """

    def __init__(self, maker: BatchMaker, shard: tuple[int, int], workers: int) -> None:
        self.maker, self.shard, self.count = maker, shard, workers
        self.parts = -(-maker.batch_size // shard[1] // SLICE)
        self._workers: list[Worker] = []
        self._made: dict[int, Batch] = {}
        self._start = self._next = self._stop = 0
        self._lock = threading.Lock()
        # Also when the program ends, and in time: later, grain would complain of modules that are gone.
        weakref.finalize(self, _close_each, self._workers)

    def batch(self, epoch: int, index: int) -> Batch:
        """Returns a batch. The workers restart unless it is one of the last batches or of the next ones."""
        number = epoch * self.maker.batches_per_epoch + index
        with self._lock:
            if number not in self._made and not (self._workers and self._next <= number < self._next + _KEPT):
                self._begin(number, self.maker.batches_per_epoch * max(self.maker.epochs, epoch + 1))
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
        """Starts the workers at a batch; they end before the batch `stop`."""
        from absl import flags

        # grain reads one of its flags without asking whether the program parses any.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        self._end()
        self._made.clear()
        self._start, self._next, self._stop = number * self.parts, number, stop
        count = min(self.count, (stop - number) * self.parts)
        # Two queues of this length for each worker hold a batch together.
        ahead = -(-self.parts // (2 * count))
        try:
            for worker, ring in enumerate(self._make_rings(count, Worker.places(ahead))):
                slices = Slices(self.maker, self.shard, self.parts, self._start + worker, count, ring)
                self._workers.append(Worker(slices, stop * self.parts, ahead))
            with _starting, own_main(), ThreadPoolExecutor(count) as pool:
                list(pool.map(Worker.begin, self._workers))
        except BaseException:
            self._end()
            raise

    def _make_rings(self, count: int, places: int) -> list[Ring | None]:
        """Shared memory for each worker, if there is enough for all."""
        size = SLICE * prod(self.maker.images.shape[1:]) * np.float32().itemsize
        try:
            if count * places * size > disk_usage(_SHARED).free:
                return [None] * count
        except OSError:
            pass
        return [Ring.create(places, size) for _ in range(count)]

    def _join(self, number: int) -> Batch:
        """Joins the slices of the next batch."""
        images = labels = np.empty(0)
        filled = 0
        for place in range(number * self.parts, (number + 1) * self.parts):
            worker = self._workers[(place - self._start) % len(self._workers)]
            some, targets = worker.take()
            if not filled:
                whole = self._rows(number)
                images = np.empty((whole, *some.shape[1:]), some.dtype)
                labels = np.empty((whole, *targets.shape[1:]), targets.dtype)
            rows = slice(filled, filled + len(targets))
            worker.copy(some, images[rows])
            labels[rows] = targets
            filled += len(targets)
        return images, labels

    def _rows(self, number: int) -> int:
        """How many examples of a batch belong to this process."""
        size, (rank, ranks) = self.maker.batch_size, self.shard
        count = min(size, len(self.maker.images) - number % self.maker.batches_per_epoch * size)
        return (rank + 1) * count // ranks - rank * count // ranks

    def _end(self) -> None:
        if self._workers:
            # Each may take half a second to notice.
            with ThreadPoolExecutor(len(self._workers)) as pool:
                list(pool.map(Worker.close, self._workers))
        self._workers.clear()


def _close_each(workers: list[Worker]) -> None:
    while workers:
        workers.pop().close()
