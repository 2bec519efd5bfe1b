"""Observes a server: metrics for Prometheus, and an access log."""

import logging
import logging.handlers
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import quote

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ACCESS = logging.getLogger("keras_skip.access")
SERVER = logging.getLogger("keras_skip.server")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_EXAMPLES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_LINES = 10_000
_STANDARD_ERROR = 2
# At the end, readers of the log have this many seconds to take the remaining lines.
_PATIENCE = 2


class Metrics:
    """Counts requests, runs and waiting requests, in a registry of its own."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "keras_skip_requests", "Inference requests that were answered.", ("model", "status"), registry=registry
        )
        self._seconds = Histogram(
            "keras_skip_request_seconds",
            "From a request's headers to its answer.",
            ("model",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._examples = Histogram(
            "keras_skip_batch_size", "Examples in a run of the model.", ("model",), buckets=_EXAMPLES, registry=registry
        )
        self._runs = Histogram(
            "keras_skip_run_seconds", "A run of the model.", ("model",), buckets=_SECONDS, registry=registry
        )
        self._waiting = Gauge("keras_skip_queue", "Requests that wait.", ("model",), registry=registry)

    def run_observer(self, model: str) -> Callable[[int, float], None]:
        """Returns a function that takes the examples and the seconds of each run of a model."""
        examples, seconds = self._examples.labels(model), self._runs.labels(model)

        def observe(count: int, duration: float) -> None:
            examples.observe(count)
            seconds.observe(duration)

        return observe

    def watch_queue(self, model: str, waiting: Callable[[], int]) -> None:
        """Asks for the length of a queue whenever the metrics are read."""
        self._waiting.labels(model).set_function(waiting)

    def count_answer(self, model: str, status: int, seconds: float) -> None:
        """Counts an answer."""
        self._requests.labels(model, str(status)).inc()
        self._seconds.labels(model).observe(seconds)

    def render(self) -> bytes:
        """Returns the metrics in Prometheus's text format."""
        return generate_latest(self._registry)


def format_address(host: str, port: int, scheme: str = "http://") -> str:
    """Returns the URL where a server listens."""
    return f"{scheme}{f'[{host}]' if ':' in host else host}:{port}"


def announce(host: str, port: int, scheme: str = "http://") -> None:
    """Logs where a server listens."""
    SERVER.info("listening on %s", format_address(host, port, scheme))


class _Lines(logging.handlers.QueueHandler):
    """Hands lines to a thread, and drops them if nobody reads them, so that the event loop does not wait."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


class Log:
    """Writes lines to standard error in a thread, so that the server can end even if nobody reads them.

    It writes to the file descriptor. Python's stream and the handlers of `logging` have locks that the interpreter
    takes when it ends, and a thread that waits for a reader would hold them.
    """

    def __init__(self, lines: "queue.Queue[logging.LogRecord | None]") -> None:
        try:
            self._file = sys.stderr.fileno()
        except (AttributeError, ValueError, OSError):
            # Standard error may be an object that is no file, as in a notebook.
            self._file = _STANDARD_ERROR
        self._lines = lines
        self._format = logging.Formatter("%(asctime)s %(message)s").format
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def _write(self) -> None:
        while (record := self._lines.get()) is not None:
            left = f"{self._format(record)}\n".encode(errors="backslashreplace")
            # The reader may have left.
            with suppress(OSError):
                while left:
                    left = left[os.write(self._file, left) :]

    def stop(self) -> None:
        """Waits until the remaining lines are written, or nobody has read them in time."""
        with suppress(queue.Full):
            self._lines.put(None, timeout=_PATIENCE)
        self._thread.join(_PATIENCE)


def start_logging(access_log: bool) -> Log:
    """Starts to write log lines to standard error from a thread.

    Returns:
        The log, which must be stopped at the end and then writes the remaining lines.
    """
    lines: queue.Queue[logging.LogRecord | None] = queue.Queue(_LINES)
    # Libraries without a handler write to standard error from any thread, which then waits for a reader.
    libraries = [logging.getLogger(name) for name in ("uvicorn.error", "asyncio", "grpc")]
    for logger in (ACCESS, SERVER, *libraries):
        logger.handlers, logger.propagate = [_Lines(lines)], False
    ACCESS.setLevel(logging.INFO if access_log else logging.CRITICAL)
    SERVER.setLevel(logging.INFO)
    for logger in libraries:
        # Their warnings concern requests, which the access log shows.
        logger.setLevel(logging.ERROR)
    return Log(lines)


class Observer:
    """An ASGI application that logs the answers of another, and counts those of models.

    Args:
        application: The other application, which names the model of an inference in `scope["keras_skip.model"]`.
        metrics: The metrics that count answers.

    Attributes:
        in_flight: How many requests are in flight.
        draining: Whether the server is about to end, and does not wait for new requests.
    """

    def __init__(self, application: ASGIApp, metrics: Metrics) -> None:
        self._application, self._metrics = application, metrics
        self.in_flight, self.draining = 0, False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        start, status = time.perf_counter(), 0

        async def note_status(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        waited_for = not self.draining
        self.in_flight += waited_for
        try:
            await self._application(scope, receive, note_status)
        finally:
            self.in_flight -= waited_for
            seconds = time.perf_counter() - start
            model = scope.get("keras_skip.model")
            # 499 stands for a client that leaves before the answer, as in nginx.
            if model is not None:
                self._metrics.count_answer(model, status or 499, seconds)
            if ACCESS.isEnabledFor(logging.INFO):
                host, port = scope["client"] or ("-", 0)
                path = quote(scope["path"], safe="/:=@-._~")
                ACCESS.info('%s:%d "%s %s" %d %.1f ms', host, port, scope["method"], path, status or 499, seconds * 1e3)
