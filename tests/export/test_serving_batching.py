"""What waits is run together, and the event loop goes on meanwhile."""

import asyncio
import threading

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")

from export.serving.batching import Batcher, QueueFull  # noqa: E402

OPTIONS = {"max_batch_size": 8, "max_elements": 1000, "max_delay": 0.0, "queue": 16}


class Runs:
    """Doubles its input, and remembers the batches; the first run waits until it may go on."""

    def __init__(self, short=False):
        self.batches, self.may_go_on, self.short = [], threading.Event(), short

    def __call__(self, batch):
        self.batches.append(batch["x"])
        assert self.may_go_on.wait(30)
        if np.any(batch["x"] < 0):
            raise ArithmeticError("negative")
        return {"y": batch["x"][: -1 if self.short and len(batch["x"]) > 1 else None] * 2}


def batch(*values, width=1):
    return {"x": np.repeat(np.array(values, "float32")[:, None], width, axis=1)}


def run(test, short=False, **options):
    """Runs a test with a batcher whose first run has begun and waits."""

    async def whole():
        runs = Runs(short)
        batcher = Batcher(runs, **{**OPTIONS, **options})
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


def test_a_lone_client_is_answered_at_once():
    async def whole():
        batcher = Batcher(lambda batch: {"y": batch["x"]}, **OPTIONS | {"max_delay": 3600})
        for value in (2, 3, 4):
            assert (await batcher.submit(batch(value)))["y"].item() == value
        await batcher.close()

    asyncio.run(asyncio.wait_for(whole(), 60))


def test_clients_that_were_answered_together_wait_for_each_other_no_longer_than_the_delay():
    async def test(batcher, runs):
        loop = asyncio.get_running_loop()
        tasks = await submitted(batcher, batch(2), batch(3))
        runs.may_go_on.set()
        await asyncio.gather(*tasks)
        # Both come back, one of them a little later.
        one = asyncio.create_task(batcher.submit(batch(4)))
        await asyncio.sleep(0.1)
        other = asyncio.create_task(batcher.submit(batch(5)))
        await asyncio.gather(one, other)
        start = loop.time()
        await batcher.submit(batch(6))
        assert loop.time() - start >= 0.5
        for value in (7, 8, 9):
            await batcher.submit(batch(value))
        # Nobody else has come in the last four runs: the next one does not wait.
        start = loop.time()
        await batcher.submit(batch(10))
        assert loop.time() - start < 0.25
        assert [x.ravel().tolist() for x in runs.batches[:4]] == [[1], [2, 3], [4, 5], [6]]

    run(test, max_delay=0.5)


def test_clients_that_were_answered_long_ago_are_not_waited_for():
    async def test(batcher, runs):
        tasks = await submitted(batcher, batch(2), batch(3))
        runs.may_go_on.set()
        await asyncio.gather(*tasks)
        await asyncio.sleep(0.6)
        start = asyncio.get_running_loop().time()
        await batcher.submit(batch(4))
        assert asyncio.get_running_loop().time() - start < 0.25

    run(test, max_delay=0.5)


def test_a_full_batch_does_not_wait():
    async def test(batcher, runs):
        # The client of the first run is not waited for.
        tasks = await submitted(batcher, batch(2), batch(3))
        runs.may_go_on.set()
        await asyncio.gather(*tasks)
        assert [x.ravel().tolist() for x in runs.batches] == [[1], [2, 3]]

    run(test, max_batch_size=2, max_delay=3600)


def test_a_batch_has_no_more_elements_than_it_may():
    async def test(batcher, runs):
        tasks = await submitted(batcher, batch(2, width=3), batch(3, 4, width=3), batch(5, width=3))
        runs.may_go_on.set()
        await asyncio.gather(*tasks)
        assert [x[:, 0].tolist() for x in runs.batches] == [[1], [2, 5], [3, 4]]

    run(test, max_elements=6)


@pytest.mark.parametrize(("width", "pieces"), [(3, [2, 2, 1]), (100, [1, 1, 1, 1, 1])])
def test_a_request_of_more_elements_is_run_in_pieces(width, pieces):
    async def test(batcher, runs):
        (task,) = await submitted(batcher, batch(1, 2, 3, 4, 5, width=width))
        runs.may_go_on.set()
        assert (await task)["y"][:, 0].tolist() == [2, 4, 6, 8, 10]
        assert [len(x) for x in runs.batches] == [1, *pieces]

    run(test, max_elements=6)


def test_a_request_whose_client_has_gone_is_not_run_and_makes_room():
    async def test(batcher, runs):
        gone, stays = await submitted(batcher, batch(2), batch(3))
        gone.cancel()
        await asyncio.sleep(0)
        assert (batcher.waiting, batcher.full) == (1, False)
        runs.may_go_on.set()
        await stays
        assert [x.ravel().tolist() for x in runs.batches] == [[1], [3]]

    run(test, queue=2)


def test_the_pieces_of_a_request_whose_client_has_gone_are_not_run():
    async def test(batcher, runs):
        runs.may_go_on.set()
        await batcher.submit(batch(0))
        runs.may_go_on.clear()
        (task,) = await submitted(batcher, batch(2, 3, 4, width=9))
        while len(runs.batches) < 3:
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.sleep(0)
        runs.may_go_on.set()
        assert (await batcher.submit(batch(5)))["y"].item() == 10
        assert [x[:, 0].tolist() for x in runs.batches] == [[1], [0], [2], [5]]

    run(test, max_elements=9)


@pytest.mark.parametrize("max_elements", [1, 1000])
def test_requests_whose_examples_depend_on_each_other_are_runs_of_their_own(max_elements):
    async def test(batcher, runs):
        tasks = await submitted(batcher, batch(2, 3, 4), batch(5), batch(6))
        runs.may_go_on.set()
        await asyncio.gather(*tasks)
        # Nobody is waited for either.
        await batcher.submit(batch(7))
        assert [x.ravel().tolist() for x in runs.batches] == [[1], [2, 3, 4], [5], [6], [7]]

    run(test, batchable=False, max_elements=max_elements, max_delay=3600)


def test_a_batch_without_an_answer_for_each_example_is_run_one_by_one():
    async def test(batcher, runs):
        tasks = await submitted(batcher, batch(2), batch(3))
        runs.may_go_on.set()
        # Its answers to more than one example are one row short.
        assert [(await task)["y"].item() for task in tasks] == [4, 6]
        assert [x.ravel().tolist() for x in runs.batches] == [[1], [2, 3], [2], [3]]

    run(test, short=True)
