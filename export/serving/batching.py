"""Runs waiting requests together.

One thread runs the model, so that the event loop never waits for it. Requests queue while it runs. When it is free, it
takes the first request and all others that fit into one batch with it. It waits for more only if they are about to
come: most clients ask again when they have their answer, so it waits until there are as many requests as at the end of
one of the last runs, but no longer than the delay. A full queue refuses requests at once, and requests of clients that
have left do not run.

If an answer depends on the other examples of its batch, every request runs alone.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter

import numpy as np

from ..model.inputs import count_examples, split_batch
from ..predictor import check_outputs
from ..storage.arrays import Batch
from .errors import QueueFull

# Some clients are still on their way when a run ends, so the most requests of this many runs are expected.
_RUNS = 4


@dataclass(eq=False)
class _Job:
    batch: Batch
    answer: "asyncio.Future[Batch]"
    since: float
    examples: int = field(init=False)
    elements: int = field(init=False)
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = field(init=False)

    def __post_init__(self) -> None:
        self.examples = count_examples(self.batch)
        self.elements = sum(x.size for x in self.batch.values())
        # Only examples of equal shape can be one batch.
        self.shapes = tuple((name, x.shape[1:]) for name, x in sorted(self.batch.items()))


class Batcher:
    """Runs submitted batches together.

    Args:
        run: Computes a batch, in one thread.
        max_batch_size: How many examples to run at once.
        max_elements: How many elements all inputs of a run may have together. A larger request runs in parts, down to
            one example at a time.
        max_delay: How many seconds a request may wait for others.
        queue: How many requests may wait.
        batchable: Whether requests may run together, and in parts.
        observe: Takes the number of examples and the seconds of each run, in the thread of the run.
    """

    def __init__(
        self,
        run: Callable[[Batch], Batch],
        *,
        max_batch_size: int,
        max_elements: int,
        max_delay: float,
        queue: int,
        batchable: bool = True,
        observe: Callable[[int, float], None] = lambda examples, seconds: None,
    ) -> None:
        self._run, self._observe, self._batchable = run, observe, batchable
        self._max_batch_size, self._max_elements = max_batch_size, max_elements
        self._max_delay, self._queue = max_delay, queue
        self._jobs: deque[_Job] = deque()
        self._changed = asyncio.Event()
        # The number of requests at the end of each of the last runs, and the time of the last end.
        self._recent_counts: deque[int] = deque(maxlen=_RUNS)
        self._last_end = 0.0
        self._thread = ThreadPoolExecutor(1, "inference")
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._jobs)

    @property
    def full(self) -> bool:
        """Whether the next request is refused."""
        return len(self._jobs) >= self._queue

    async def submit(self, batch: Batch) -> Batch:
        """Waits for the outputs of a batch, which does not run if the wait is cancelled.

        Raises:
            QueueFull: If too many others wait.
            Exception: Whatever `run` raises on this batch alone.
        """
        if self.full:
            raise QueueFull
        loop = asyncio.get_running_loop()
        if self._task is None:
            self._task = loop.create_task(self._work())
        job = _Job(batch, loop.create_future(), loop.time())
        self._jobs.append(job)
        self._changed.set()
        try:
            return await job.answer
        except asyncio.CancelledError:
            with suppress(ValueError):
                self._jobs.remove(job)
            raise

    async def close(self) -> None:
        """Stops the thread. No request may be waiting."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._thread.shutdown(wait=False)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            jobs = await self._next_jobs()
            if len(jobs) == 1 or not await self._answer(jobs):
                # Requests that fail together run again one by one, so that each fails only by itself.
                for job in jobs:
                    await self._answer([job])
            self._recent_counts.append(len(jobs) + len(self._jobs))
            self._last_end = loop.time()

    async def _next_jobs(self) -> list[_Job]:
        while not self._jobs or self._remaining_wait() > 0:
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._remaining_wait() if self._jobs else None):
                    await self._changed.wait()
        return self._take_jobs()

    def _remaining_wait(self) -> float:
        """Returns the seconds for which the first job still waits for others."""
        first = self._jobs[0]
        is_full = sum(job.examples for job in self._jobs) >= self._max_batch_size
        # Clients whose answers are older than the delay will not come back within it.
        all_are_here = (
            len(self._jobs) >= max(self._recent_counts, default=0) or first.since - self._last_end > self._max_delay
        )
        if is_full or all_are_here or not self._batchable:
            return 0
        return first.since + self._max_delay - asyncio.get_running_loop().time()

    def _take_jobs(self) -> list[_Job]:
        """Takes the first job and others that fit with it; the rest keep their order."""
        first = self._jobs.popleft()
        taken, left, size, elements = [first], deque[_Job](), first.examples, first.elements
        for job in self._jobs:
            fits = size + job.examples <= self._max_batch_size and elements + job.elements <= self._max_elements
            if self._batchable and fits and job.shapes == first.shapes:
                taken.append(job)
                size, elements = size + job.examples, elements + job.elements
            else:
                left.append(job)
        self._jobs = left
        return taken

    async def _answer(self, jobs: list[_Job]) -> bool:
        """Runs jobs together and answers them; returns False without an answer if several fail together."""
        loop = asyncio.get_running_loop()
        try:
            outputs = await loop.run_in_executor(self._thread, partial(self._compute, jobs))
        except Exception as error:  # An error of the runtime belongs to the request, not to the server.
            if len(jobs) > 1:
                return False
            if not jobs[0].answer.done():
                jobs[0].answer.set_exception(error)
            return True
        for job, output in zip(jobs, outputs, strict=True):
            if not job.answer.done():
                job.answer.set_result(output)
        return True

    def _compute(self, jobs: list[_Job]) -> list[Batch]:
        batch = jobs[0].batch
        if not self._batchable:
            return [self._time_run(batch)]
        if len(jobs) > 1:
            batch = {name: np.concatenate([job.batch[name] for job in jobs]) for name in batch}
        parts: list[Batch] = []
        for part in split_batch(batch, max(1, self._max_elements * jobs[0].examples // jobs[0].elements)):
            if all(job.answer.done() for job in jobs):
                # Nobody waits for the remaining parts.
                return [{} for _ in jobs]
            parts.append(check_outputs(self._time_run(part), count_examples(part)))
        outputs = parts[0]
        if len(parts) > 1:
            outputs = {name: np.concatenate([part[name] for part in parts]) for name in outputs}
        ends = np.cumsum([job.examples for job in jobs])
        return [
            {name: y[end - job.examples : end] for name, y in outputs.items()}
            for job, end in zip(jobs, ends, strict=True)
        ]

    def _time_run(self, batch: Batch) -> Batch:
        start = perf_counter()
        outputs = self._run(batch)
        self._observe(count_examples(batch), perf_counter() - start)
        return outputs
