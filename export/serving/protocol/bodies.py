"""Reserves memory for the bodies of requests, before a body arrives and until its request is answered.

    sum of the reserved memory <= the limit

Small bodies do not count. A body that does not fit replaces bodies that arrive too slowly to be complete in time, the
slowest first. If there are none, it is refused.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from ..errors import QueueFull, RequestError

# A body of at most this many bytes does not count, and is read and written in the event loop.
SMALL = 2**16
# The pace of a body is measured over a window of this many seconds, and only after this many.
_WINDOW, _BEGINNING = 1.0, 0.1


class Body:
    """One body, with its reserved memory and the pace of its arrival."""

    def __init__(self) -> None:
        self.size = self.received = 0
        self.deadline: asyncio.Timeout | None = None
        # The start of the window, the bytes that had arrived by then, and the pace of the window before.
        self._since, self._before, self._last = asyncio.get_running_loop().time(), 0, -1.0
        self._last_arrival = self._since

    def pace(self) -> float:
        """Returns the bytes a second in the last complete window, or since the beginning if there is none."""
        now = asyncio.get_running_loop().time()
        if now - self._last_arrival >= _WINDOW:
            return 0
        if self._last >= 0:
            return self._last
        seconds = now - self._since
        return self.received / seconds if seconds >= _BEGINNING else math.inf

    def count_arrived(self, size: int) -> None:
        """Counts arrived bytes."""
        self.received += size
        self._last_arrival = now = asyncio.get_running_loop().time()
        if (seconds := now - self._since) >= _WINDOW:
            self._last = (self.received - self._before) / seconds
            self._since, self._before = now, self.received


class Bodies:
    """All bodies that are arriving, or whose requests are not answered yet.

    Args:
        limit: How many bytes they may have together.
        timeout: The seconds within which a body must arrive.
    """

    def __init__(self, limit: int, timeout: int) -> None:
        self._limit, self._timeout = limit, timeout
        self._reserved_bytes = 0
        self._arriving: set[Body] = set()

    @contextmanager
    def reserve(self, size: int) -> Iterator[Body]:
        """Reserves memory for a body until its request is answered.

        Raises:
            QueueFull: If there is not enough memory.
        """
        body = Body()
        try:
            self.grow(body, size)
            yield body
        finally:
            self._reserved_bytes -= body.size

    async def receive(self, parts: AsyncIterator[bytes], body: Body, largest: int) -> bytes:
        """Receives a body up to the largest size.

        Raises:
            QueueFull: If it grows, and there is not enough memory.
            RequestError: If it is too large, or so slow that another body has replaced it.
        """
        received: list[bytes] = []
        try:
            async with asyncio.timeout(None) as body.deadline:
                self._arriving.add(body)
                async for part in parts:
                    body.count_arrived(len(part))
                    if body.received > largest:
                        raise too_large(largest)
                    self.grow(body, body.received)
                    received.append(part)
        except TimeoutError:
            raise RequestError(
                "Expected a body to keep arriving while others wait. Received: a part of it", 408
            ) from None
        finally:
            self._arriving.discard(body)
        return received[0] if len(received) == 1 else b"".join(received)

    def grow(self, body: Body, size: int) -> None:
        """Reserves more memory for a body.

        Raises:
            QueueFull: If there is not enough memory.
        """
        if size <= max(SMALL, body.size):
            return
        self._make_room(self._reserved_bytes + size - body.size - self._limit)
        self._reserved_bytes += size - body.size
        body.size = size

    def _make_room(self, missing: int) -> None:
        if missing <= 0:
            return
        slow = [each for each in self._arriving if each.pace() < each.size / self._timeout]
        if sum(each.size for each in slow) < missing:
            raise QueueFull
        for each in sorted(slow, key=Body.pace):
            if missing <= 0:
                return
            missing -= each.size
            self._evict(each)

    def _evict(self, body: Body) -> None:
        self._arriving.discard(body)
        self._reserved_bytes -= body.size
        body.size = 0
        assert body.deadline is not None
        body.deadline.reschedule(0)


def too_large(largest: int) -> RequestError:
    """Returns the error for a larger body."""
    return RequestError(f"Expected a body of at most {largest} bytes. Received: more", 413)
