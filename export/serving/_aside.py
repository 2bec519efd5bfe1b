"""Work on large bodies, beside the event loop and one body after the other.

Most of it holds the interpreter's lock: several at once would not be faster, and would together stop everyone else. So
no more than one body is ever held as Python's objects, which take many times its memory.
"""

import asyncio
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ._bodies import SMALL
from ._errors import RequestError

_Result = TypeVar("_Result")
_THREAD = ThreadPoolExecutor(1, "bodies")


async def aside(size: int, function: Callable[..., _Result], *arguments: Any) -> _Result:
    """Calls a function: here where there is little to do, else in the thread."""
    if size <= SMALL:
        return function(*arguments)
    return await asyncio.get_running_loop().run_in_executor(_THREAD, _uncollected, function, arguments)


def _uncollected(function: Callable[..., _Result], arguments: tuple[Any, ...]) -> _Result:
    """Calls a function without the collector of cyclic garbage, which goes through millions of new lists in vain."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return function(*arguments)
    except RequestError as error:
        refused = RequestError(str(error), error.status)
    finally:
        if collects:
            gc.enable()
    # An error's traceback holds what was parsed; this one has none.
    raise refused
