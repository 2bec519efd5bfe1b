"""Shared memory through which a worker hands its slices to its parent: places of one size, used in turn.

Its pages are used again and again. New shared memory for every slice, as grain has it, costs a fifth of the time that a
photo takes.
"""

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from math import prod
from multiprocessing.shared_memory import SharedMemory

import numpy as np

_HEAD = 64


@dataclass(frozen=True)
class Filled:
    """An array in a ring. It is valid until the ring comes round to its place again."""

    number: int
    shape: tuple[int, ...]
    dtype: str


@dataclass
class Ring:
    """A ring of places in shared memory with a name; each process opens it when it first needs it.

    Attributes:
        name: The name of the shared memory.
        places: How many arrays it holds at a time.
        size: The bytes that each may take.
    """

    name: str
    places: int
    size: int

    @classmethod
    def create(cls, places: int, size: int) -> "Ring":
        """Makes the shared memory, which the caller has to `remove`.

        Raises:
            OSError: If there is no shared memory.
        """
        made = SharedMemory(create=True, size=places * (_HEAD + size))
        ring = cls(made.name, places, size)
        ring.__dict__["_memory"] = made
        return ring

    def __getstate__(self) -> dict:
        return {"name": self.name, "places": self.places, "size": self.size}

    @cached_property
    def _memory(self) -> SharedMemory:
        return SharedMemory(self.name)

    def put(self, number: int, array: np.ndarray) -> "Filled | np.ndarray":
        """Writes an array over the one `places` numbers before it; returns an array that is too large as it is."""
        numbered = self._number(number)  # opens the memory in any case, while it still has a name
        if not 0 < array.nbytes <= self.size:
            return array
        numbered[0] = number
        filled = Filled(number, array.shape, array.dtype.str)
        self._view(filled)[...] = array
        return filled

    def take(self, found: "Filled | np.ndarray", into: np.ndarray) -> None:
        """Copies an array out of the ring."""
        if not isinstance(found, Filled):
            into[...] = found
            return
        into[...] = self._view(found)
        if self._number(found.number)[0] != found.number:
            raise RuntimeError(f"Expected slice {found.number} in its place in shared memory. Received: a later one")

    def unlink(self) -> None:
        """Removes the name of the memory once both processes have opened it: it then ends with them, even if killed."""
        with suppress(FileNotFoundError):
            self._memory.unlink()

    def remove(self) -> None:
        if "_memory" in self.__dict__:
            self.unlink()
            self.__dict__.pop("_memory").close()

    def _start(self, number: int) -> int:
        return number % self.places * (_HEAD + self.size)

    def _number(self, number: int) -> np.ndarray:
        return np.ndarray(1, "int64", self._memory.buf, self._start(number))

    def _view(self, filled: Filled) -> np.ndarray:
        assert prod(filled.shape) * np.dtype(filled.dtype).itemsize <= self.size
        return np.ndarray(filled.shape, filled.dtype, self._memory.buf, self._start(filled.number) + _HEAD)
