"""What waits is run together, and the event loop goes on meanwhile."""

import asyncio
import threading

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")

from export.serving._batching import Batcher, QueueFull  # noqa: E402


class Runs:
    """Doubles its input, and remembers the batches; the first run waits until it may go on."""

    def __init__(self):
        self.batches, self.may_go_on = [], threading.Event()

    def __call__(self, batch):
        self.batches.append(batch["x"])
        assert self.may_go_on.wait(30)
        if np.any(batch["x"] < 0):
            raise ArithmeticError("negative")
        return {"y": batch["x"] * 2}


def batch(*values, width=1):
    return {"x": np.repeat(np.array(values, "float32")[:, None], width, axis=1)}


def run(test, **options):
    """Runs a test with a batcher whose first run has begun and waits."""

    async def whole():
        runs = Runs()
        batcher = Batcher(runs, **{"max_batch_size": 8, "max_delay": 0.0, "queue": 16, **options})
        first = asyncio.create_task(batcher.submit(batch(1)))
        while not runs.batches:
            await asyncio.sleep(0.001)
        try:
            await test(batcher, runs)
            np.testing.assert_array_equal((await first)["y"], [[2]])
        finally:
            runs.may_go_on.set()
            await batcher.close()

    asyncio.run(asyncio.wait_for(whole(), 60))


async def submitted(batcher, *batches):
    tasks = [asyncio.create_task(batcher.submit(each)) for each in batches]
    await asyncio.sleep(0)
    return tasks


def test_what_arrives_during_a_run_is_the_next_batch_and_everyone_gets_their_own():
    async def test(batcher, runs):
        tasks = await submitted(batcher, batch(2), batch(3, 4), batch(5))
        assert (batcher.waiting, len(runs.batches)) == (3, 1)
        runs.may_go_on.set()
        answers = [(await task)["y"].ravel().tolist() for task in tasks]
        assert answers == [[4], [6, 8], [10]]
        assert [x.ravel().tolist() for x in runs.batches] == [[1], [2, 3, 4, 5]]

    run(test)


def test_a_batch_is_no_larger_than_it_may_be():
    async def test(batcher, runs):
        tasks = await submitted(batcher, batch(2, 3), batch(4, 5), batch(6))
        runs.may_go_on.set()
        await asyncio.gather(*tasks)
        assert [x.ravel().tolist() for x in runs.batches] == [[1], [2, 3, 6], [4, 5]]

    run(test, max_batch_size=3)


def test_examples_of_other_shapes_wait_for_their_own_batch():
    async def test(batcher, runs):
        tasks = await submitted(batcher, batch(2), batch(3, width=2), batch(4))
        runs.may_go_on.set()
        await asyncio.gather(*tasks)
        assert [x.shape for x in runs.batches] == [(1, 1), (2, 1), (1, 2)]

    run(test)


def test_what_fails_in_a_batch_fails_alone():
    async def test(batcher, runs):
        tasks = await submitted(batcher, batch(2), batch(-1), batch(3))
        runs.may_go_on.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(answers[1], ArithmeticError)
        assert [answers[0]["y"].item(), answers[2]["y"].item()] == [4, 6]

    run(test)


def test_a_full_queue_refuses_and_then_takes_again():
    async def test(batcher, runs):
        tasks = await submitted(batcher, batch(2), batch(3))
        assert batcher.full
        with pytest.raises(QueueFull):
            await batcher.submit(batch(4))
        runs.may_go_on.set()
        await asyncio.gather(*tasks)
        assert not batcher.full
        assert (await batcher.submit(batch(4)))["y"].item() == 8

    run(test, queue=2)


def test_a_request_waits_for_others_no_longer_than_the_delay():
    async def test(batcher, runs):
        runs.may_go_on.set()
        start = asyncio.get_running_loop().time()
        alone = await batcher.submit(batch(2))
        assert alone["y"].item() == 4
        assert asyncio.get_running_loop().time() - start >= 0.1
        one, other = await submitted(batcher, batch(3), batch(4))
        await asyncio.gather(one, other)
        assert [x.ravel().tolist() for x in runs.batches] == [[1], [2], [3, 4]]

    run(test, max_delay=0.1)


def test_a_full_batch_does_not_wait():
    async def immediate():
        batcher = Batcher(lambda batch: {"y": batch["x"]}, max_batch_size=2, max_delay=3600, queue=2)
        tasks = await submitted(batcher, batch(1), batch(2))
        assert [(await task)["y"].item() for task in tasks] == [1, 2]
        await batcher.close()

    asyncio.run(asyncio.wait_for(immediate(), 60))
