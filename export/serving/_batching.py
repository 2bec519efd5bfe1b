"""Requests that wait are run together.

One thread runs the model, so that the event loop never waits for it. While it runs, requests queue; when it is free it
takes the first and all that fit to it, up to a size, and waits for more only as long as the first has not waited for
the delay. The queue is bounded: what comes to a full one is refused at once.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from .._inputs import Batch, examples


class QueueFull(Exception):
    """As many requests wait as may."""


@dataclass(eq=False)
class _Job:
    batch: Batch
    answer: "asyncio.Future[Batch]"
    since: float
    examples: int = field(init=False)
    shapes: tuple[Any, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.examples = examples(self.batch)
        # Only examples of equal shape can be one batch.
        self.shapes = tuple((name, x.shape[1:]) for name, x in sorted(self.batch.items()))


class Batcher:
    """Runs batches of what is submitted.

    Args:
        run: Computes a batch. It is called in one thread.
        max_batch_size: How many examples to run at once.
        max_delay: How many seconds a request may wait for others.
        queue: How many requests may wait.
        observe: Is told the number of examples in each run, and its seconds.
    """

    def __init__(
        self,
        run: Callable[[Batch], Batch],
        *,
        max_batch_size: int,
        max_delay: float,
        queue: int,
        observe: Callable[[int, float], None] = lambda examples, seconds: None,
    ) -> None:
        self._run, self._observe = run, observe
        self._max_batch_size, self._max_delay, self._queue = max_batch_size, max_delay, queue
        self._jobs: deque[_Job] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "inference")
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._jobs)

    @property
    def full(self) -> bool:
        """Whether the next one is refused."""
        return len(self._jobs) >= self._queue

    async def submit(self, batch: Batch) -> Batch:
        """Waits for the outputs of a batch.

        Raises:
            QueueFull: If too many others wait.
            Exception: What `run` raises on this batch alone.
        """
        if self.full:
            raise QueueFull
        loop = asyncio.get_running_loop()
        if self._task is None:
            self._task = loop.create_task(self._work())
        job = _Job(batch, loop.create_future(), loop.time())
        self._jobs.append(job)
        self._arrived.set()
        return await job.answer

    async def close(self) -> None:
        """Stops. Nothing may be waiting."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._thread.shutdown(wait=False)

    async def _work(self) -> None:
        while True:
            jobs = await self._next()
            if len(jobs) > 1 and await self._answer(jobs):
                continue
            # What failed together is run one by one, so that no request suffers from another.
            for job in jobs:
                await self._answer([job])

    async def _next(self) -> list[_Job]:
        loop = asyncio.get_running_loop()
        while not self._jobs:
            self._arrived.clear()
            await self._arrived.wait()
        ends = self._jobs[0].since + self._max_delay
        while sum(job.examples for job in self._jobs) < self._max_batch_size and (left := ends - loop.time()) > 0:
            self._arrived.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._arrived.wait()
        return self._taken()

    def _taken(self) -> list[_Job]:
        """Takes the first job and those that fit to it; the others keep their order."""
        first = self._jobs.popleft()
        taken, left, size = [first], deque[_Job](), first.examples
        for job in self._jobs:
            if job.shapes == first.shapes and size + job.examples <= self._max_batch_size:
                taken.append(job)
                size += job.examples
            else:
                left.append(job)
        self._jobs = left
        return taken

    async def _answer(self, jobs: list[_Job]) -> bool:
        """Runs jobs together and answers them; False, and no answer, where several have failed together."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        try:
            outputs = await loop.run_in_executor(self._thread, partial(self._computed, jobs))
        except Exception as error:  # Whatever a runtime raises belongs to the request, not to the server.
            if len(jobs) > 1:
                return False
            if not jobs[0].answer.done():
                jobs[0].answer.set_exception(error)
            return True
        self._observe(sum(job.examples for job in jobs), loop.time() - start)
        for job, output in zip(jobs, outputs, strict=True):
            if not job.answer.done():
                job.answer.set_result(output)
        return True

    def _computed(self, jobs: list[_Job]) -> list[Batch]:
        if len(jobs) == 1:
            return [self._run(jobs[0].batch)]
        together = {name: np.concatenate([job.batch[name] for job in jobs]) for name in jobs[0].batch}
        outputs = self._run(together)
        ends = np.cumsum([job.examples for job in jobs])
        return [
            {name: y[end - job.examples : end] for name, y in outputs.items()}
            for job, end in zip(jobs, ends, strict=True)
        ]
