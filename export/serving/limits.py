"""The limits of a server, here and elsewhere."""

import math
from dataclasses import dataclass, fields
from numbers import Integral, Real

_LEAST = {"max_batch_size": 1, "max_delay": 0, "queue": 1, "max_body": 1, "timeout": 1}
_SECONDS = ("max_delay", "timeout")


def check_limit(name: str, value: float) -> None:
    """Raises a ValueError unless a limit is large enough, and a finite number of seconds or else whole."""
    kind, wanted = (Real, "a finite number") if name in _SECONDS else (Integral, "a whole number")
    least = _LEAST[name]
    if isinstance(value, bool) or not isinstance(value, kind) or not least <= value < math.inf:
        raise ValueError(f"Expected {name} to be {wanted}, at least {least}. Received: {name}={value!r}")


@dataclass(frozen=True)
class Limits:
    """The limits of a server.

    Attributes:
        max_batch_size: How many examples one run, and so one request, may have.
        max_delay: How many seconds a request may wait for others to run with.
        queue: How many requests of a model may wait.
        max_body: How many bytes a request may have.
        timeout: How many seconds a request may take to arrive.
    """

    max_batch_size: int = 32
    max_delay: float = 0.002
    queue: int = 256
    max_body: int = 16 * 2**20
    timeout: int = 30

    def __post_init__(self) -> None:
        for field in fields(self):
            check_limit(field.name, getattr(self, field.name))
