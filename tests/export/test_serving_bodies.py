"""Bodies: memory that is set aside for them, and what is too costly to be read."""

import asyncio
import gc
import json

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")

from export.serving import offloading
from export.serving.errors import QueueFull, RequestError  # noqa: E402
from export.serving.offloading import offload  # noqa: E402
from export.serving.protocol import bodies as bodies_module  # noqa: E402
from export.serving.protocol.bodies import Bodies  # noqa: E402
from export.serving.protocol.json_arrays import make_array, parse_json  # noqa: E402
from export.serving.protocol.protobuf import check_fields  # noqa: E402
from export.serving.protocol.v2 import parse_request  # noqa: E402

LARGE = 100_000


async def pieces(*sizes, every=0.0, ends=True):
    for size in sizes:
        yield bytes(size)
        await asyncio.sleep(every)
    if not ends:
        await asyncio.sleep(3600)


@pytest.fixture
def bodies(monkeypatch):
    """Room for two large bodies; a pace is that of a tenth of a second, and a body has ten seconds."""
    monkeypatch.setattr(bodies_module, "_WINDOW", 0.1)
    monkeypatch.setattr(bodies_module, "_BEGINNING", 0.02)
    return Bodies(2 * LARGE, 10)


async def receive(bodies, parts, declared=LARGE, worked_on=None):
    """Receives a body, and works on its request until an event."""
    with bodies.reserve(declared) as body:
        content = await bodies.receive(parts, body, LARGE)
        if worked_on is not None:
            await worked_on.wait()
        return len(content)


def run(test):
    asyncio.run(asyncio.wait_for(test(), 60))


def test_a_body_that_has_stopped_makes_room_and_is_told(bodies):
    async def test():
        slow = [asyncio.create_task(receive(bodies, pieces(LARGE - 1 - i, ends=False))) for i in range(2)]
        await asyncio.sleep(0.3)
        assert await receive(bodies, pieces(LARGE)) == LARGE
        # One was enough.
        ended, others = await asyncio.wait(slow, timeout=0.1)
        (error,) = (task.exception() for task in ended)
        assert error.status == 408 and "keep arriving while others wait" in str(error)
        assert len(others) == 1
        others.pop().cancel()

    run(test)


def test_the_slowest_goes_first(monkeypatch):
    monkeypatch.setattr(bodies_module, "_WINDOW", 0.1)

    async def test():
        bodies = Bodies(8 * LARGE, 10)
        trickling = [asyncio.create_task(receive(bodies, pieces(*[10] * 1000, every=0.02))) for _ in range(7)]
        stopped = asyncio.create_task(receive(bodies, pieces(LARGE - 1, ends=False)))
        await asyncio.sleep(0.3)
        assert await receive(bodies, pieces(LARGE)) == LARGE
        with pytest.raises(RequestError, match="keep arriving"):
            await stopped
        assert not any(task.done() for task in trickling)
        for task in trickling:
            task.cancel()

    run(test)


def test_a_body_that_is_announced_and_does_not_begin_makes_room(bodies):
    async def test():
        announced = [asyncio.create_task(receive(bodies, pieces(1, ends=False))) for _ in range(2)]
        await asyncio.sleep(0)
        # They may still begin.
        with pytest.raises(QueueFull):
            await receive(bodies, pieces(LARGE))
        await asyncio.sleep(0.05)
        assert await receive(bodies, pieces(LARGE)) == LARGE
        for task in announced:
            task.cancel()

    run(test)


def test_who_is_fast_enough_keeps_their_place(bodies):
    async def test():
        trickling = asyncio.create_task(receive(bodies, pieces(*[10] * 1000, every=0.02)))
        fast = asyncio.create_task(receive(bodies, pieces(*[2000] * 50, every=0.02)))
        await asyncio.sleep(0.3)
        assert await receive(bodies, pieces(LARGE)) == LARGE
        with pytest.raises(RequestError, match="keep arriving"):
            await trickling
        assert await fast == LARGE

    run(test)


@pytest.mark.parametrize("declared", [LARGE, 0], ids=["declared", "chunked"])
def test_bodies_that_arrive_in_time_and_requests_that_are_worked_on_keep_their_memory(declared, bodies):
    async def test():
        done = asyncio.Event()
        working = [asyncio.create_task(receive(bodies, pieces(LARGE), declared, done)) for _ in range(2)]
        await asyncio.sleep(0.3)
        with pytest.raises(QueueFull):
            await receive(bodies, pieces(LARGE), declared)
        done.set()
        assert await asyncio.gather(*working) == [LARGE, LARGE]
        # What they had is free again.
        assert await asyncio.gather(*(receive(bodies, pieces(LARGE), declared) for _ in range(2))) == [LARGE, LARGE]

    run(test)


def test_small_bodies_are_not_counted(bodies):
    async def test():
        small = [asyncio.create_task(receive(bodies, pieces(10, ends=False), bodies_module.SMALL)) for _ in range(20)]
        await asyncio.sleep(0.3)
        done = asyncio.Event()
        large = [asyncio.create_task(receive(bodies, pieces(LARGE), worked_on=done)) for _ in range(2)]
        await asyncio.sleep(0.1)
        assert await receive(bodies, pieces(100), 100) == 100
        assert not any(task.done() for task in small)
        done.set()
        await asyncio.gather(*large)
        for task in small:
            task.cancel()

    run(test)


def test_a_body_beyond_the_largest_is_refused_as_soon_as_it_is(bodies):
    async def test():
        with pytest.raises(RequestError, match="at most 100000 bytes") as caught:
            await receive(bodies, pieces(LARGE, 1, ends=False), 0)
        assert caught.value.status == 413

    run(test)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[" + b"[]," * 2**21 + b"[]]", "lists"),
        (b"[" + b"{}," * 2**14 + b"{}]", "objects"),
        (b"[" + b'"a",' * 2**15 + b'"a"]', "quotes"),
    ],
    ids=["lists", "objects", "strings"],
)
def test_json_that_takes_far_more_memory_than_its_bytes_is_not_parsed(text, said, monkeypatch):
    import orjson

    monkeypatch.setattr(orjson, "loads", None)
    with pytest.raises(RequestError, match=f"Expected at most .* {said} in JSON.* Received: .* {said}"):
        parse_json(text)


def test_nested_images_of_the_largest_body_are_parsed():
    x = np.random.default_rng(0).integers(0, 256, (8, 224, 224, 3), dtype="uint8")
    text = json.dumps(x.tolist(), separators=(",", ":")).encode()
    np.testing.assert_array_equal(make_array("x", parse_json(text), x.shape, x.dtype), x)
    np.testing.assert_array_equal(make_array("x", x.ravel().tolist(), x.shape, x.dtype), x)


@pytest.mark.parametrize(
    ("data", "shape", "said"),
    [
        (["a" * 10**6, *"b" * 99_999], (100_000,), "FP32. Received: something else"),
        ([[["a"]], [["b"]]], (2, 1, 1), "FP32. Received: something else"),
        ([[[]] * 1000] * 2, (2, 1000), "flat, or nested"),
        ([[1.0, 2.0], [1.0]], (2, 2), "flat, or nested"),
        ([[1.0, [2.0]], [1.0, 2.0]], (2, 2), "flat, or nested"),
        ([1.0, [2.0]], (2,), "flat, or nested"),
        ([[1.0], 2.0], (2, 1), "flat, or nested"),
        ([[0.0]], (1, 2**31 - 1), "flat, or nested"),
        ([[[0.0]]], (1, 2**31 - 1, 2**31 - 1), "flat, or nested"),
        ([True, 1.0], (2,), "FP32. Received: something else"),
        ([None, 1.0], (2,), "FP32. Received: something else"),
    ],
)
def test_data_is_looked_at_before_it_is_converted(data, shape, said):
    with pytest.raises(RequestError, match=said):
        make_array("x", data, shape, np.dtype("float32"))


@pytest.mark.parametrize("dtype", ["int8", "uint64", "float16", "float64", "bool"])
@pytest.mark.parametrize("shape", [(3,), (2, 40_000), (3, 2, 20_000), (40_000, 2)])
def test_numbers_of_every_type_and_shape_are_converted(dtype, shape):
    x = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype)
    for data in (x.tolist(), x.ravel().tolist()):
        given = make_array("x", data, shape, x.dtype)
        assert given.dtype == x.dtype
        np.testing.assert_array_equal(given, x)


def test_a_large_body_is_read_without_the_collector_and_leaves_it_as_it_was():
    async def test():
        assert await offload(bodies_module.SMALL + 1, gc.isenabled) is False
        assert await offload(bodies_module.SMALL, gc.isenabled) is True
        assert gc.isenabled()
        gc.disable()
        try:
            await offload(LARGE, len, b"")
            assert not gc.isenabled()
        finally:
            gc.enable()

    run(test)


def test_a_refusal_does_not_hold_what_was_parsed():
    async def test():
        body = json.dumps({"inputs": [[1.0, 2.0]] * 20_000}).encode()
        with pytest.raises(RequestError, match="input to be a JSON object") as caught:
            await offload(len(body), parse_request, body, None, None)
        held, error = [], caught.value
        while error is not None:
            trace = error.__traceback__
            while trace is not None:
                held.append(trace.tb_frame.f_code.co_name)
                trace = trace.tb_next
            error = error.__cause__ or error.__context__
        assert "parse_request" not in held and "read_request" not in held
        assert offloading._call_without_gc.__name__ in held

    run(test)


def field(number, content=b""):
    """A field of protobuf's wire format that holds bytes."""
    size, length = len(content), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


@pytest.mark.parametrize(
    "message",
    [
        field(5) * 20_000,
        field(7) * 20_000,
        field(5, field(5, field(8) * 20_000)),
        field(5, field(5, b"\x08\x01" * 20_000)),
        field(6, field(2) * 20_000),
        # Tags with surplus bits mean the same field.
        b"\xaa\x80\x80\x80\x80\x01" + field(5, field(5, field(8) * 20_000))[1:],
    ],
    ids=["inputs", "raw", "bytes", "numbers that are not packed", "parameters", "surplus bits"],
)
def test_messages_of_more_fields_than_any_request_needs_are_refused(message):
    with pytest.raises(RequestError, match="Expected at most 16384 fields"):
        check_fields(message)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff" * 20_000,
        field(7, bytes(10**6))[:-5],
        field(7, bytes(10**6)),
        field(5, field(5, field(6, bytes(10**6)))),
    ],
    ids=["empty", "no message", "an end that is missing", "raw", "packed numbers"],
)
def test_messages_of_few_fields_are_left_alone(message):
    check_fields(message)
