"""Works on large bodies in a thread, one after the other.

Most of this work holds the interpreter's lock, so several bodies at once would not be faster, and would stop all other
requests. So at most one body at a time exists as Python objects, which take many times its memory.
"""

import asyncio
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from .errors import RequestError
from .protocol.bodies import SMALL

_Result = TypeVar("_Result")
_THREAD = ThreadPoolExecutor(1, "bodies")


async def offload(size: int, function: Callable[..., _Result], *arguments: Any) -> _Result:
    """Calls a function, in the thread if the body is large."""
    if size <= SMALL:
        return function(*arguments)
    return await asyncio.get_running_loop().run_in_executor(_THREAD, _call_without_gc, function, arguments)


def _call_without_gc(function: Callable[..., _Result], arguments: tuple[Any, ...]) -> _Result:
    """Calls a function without the garbage collector, which would search millions of new lists in vain."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return function(*arguments)
    except RequestError as error:
        refused = RequestError(str(error), error.status)
    finally:
        if collects:
            gc.enable()
    # The traceback of the first error keeps the parsed data alive; this error has none.
    raise refused
