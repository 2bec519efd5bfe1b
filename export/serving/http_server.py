"""Serves HTTP with uvicorn, and adds what uvicorn leaves to a proxy: deadlines, a limit on headers, and a drain.

The server declines offers of another protocol, which some clients make with each request, and cancels requests of
clients that have left.
"""

import asyncio
import json
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from .observation import SERVER
from .startup import allow_many_connections

if TYPE_CHECKING:
    from .application import Service

_HEAD_BYTES = 2**16


class Protocol(HttpToolsProtocol):
    """One connection. A request has `timeout_keep_alive` seconds to arrive, and an answer as many to be read."""

    _arrival_timer: asyncio.TimerHandle | None = None
    _departure_timer: asyncio.TimerHandle | None = None
    # The bytes of a request whose headers are incomplete.
    _head_size = 0
    _task: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._start_arrival_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_arrival_timer()
        self.resume_writing()
        super().connection_lost(exc)
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        if self.transport.is_closing():
            return
        if self._head_size:
            self._head_size += len(data)
            if self._head_size > _HEAD_BYTES:
                self._refuse(431, f"Expected headers of at most {_HEAD_BYTES} bytes. Received: more")
        elif self.timeout_keep_alive_task is None and (self.cycle is None or self.cycle.response_complete):
            # Bytes that begin no request stop uvicorn's own timer.
            self._start_arrival_timer()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_size = 1
        self._start_arrival_timer()

    def on_headers_complete(self) -> None:
        self._head_size = 0
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        self._stop_arrival_timer()
        if not self.pipeline:
            # A paused connection would not notice that the client has left.
            self.flow.resume_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._departure_timer = self.loop.call_later(self.timeout_keep_alive, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._departure_timer is not None:
            self._departure_timer.cancel()
            self._departure_timer = None

    def _parse(self, data: bytes) -> None:
        """Parses bytes. The parser stops at headers that offer another protocol, and a new parser continues."""
        left = memoryview(data)
        while len(left):
            try:
                self.parser.feed_data(left)
                return
            except httptools.HttpParserUpgrade as offer:
                if self.parser.get_method() == b"CONNECT":
                    self._refuse(400, "Expected a request of this server. Received: CONNECT")
                    return
                head, left = self._head_without_offer(), left[offer.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self.parser.feed_data(head)

    def _head_without_offer(self) -> bytes:
        version = self.parser.get_http_version().encode()
        kept = [(name, value) for name, value in self.headers if name != b"upgrade"]
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version, *map(b": ".join, kept)]
        return b"\r\n".join([*lines, b"", b""])

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        async def until_gone(scope: Any, receive: Any, send: Any) -> None:
            try:
                await app(scope, receive, send)
            except asyncio.CancelledError:
                if not cycle.disconnected:
                    raise

        self._task = self.loop.create_task(cycle.run_asgi(until_gone))
        self._task.add_done_callback(self.tasks.discard)
        self.tasks.add(self._task)

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, f"Expected HTTP/1.1. Received: {msg}")

    def _start_arrival_timer(self) -> None:
        if self._arrival_timer is None:
            self._arrival_timer = self.loop.call_later(self.timeout_keep_alive, self._on_late_arrival)

    def _stop_arrival_timer(self) -> None:
        if self._arrival_timer is not None:
            self._arrival_timer.cancel()
            self._arrival_timer = None

    def _on_late_arrival(self) -> None:
        self._arrival_timer = None
        waits = self.cycle is not None and not self.cycle.response_complete
        if self.transport.is_closing():
            return
        if self._head_size or (waits and not self.cycle.response_started):
            self._refuse(408, f"Expected a request within {self.timeout_keep_alive} seconds. Received: a part of it")
        else:
            self.transport.close()

    def _refuse(self, status: int, message: str) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            # For the application the client has left.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = json.dumps({"error": message}).encode()
        head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head.encode() + body)
        self.transport.close()


def make_config(
    application: Any, timeout: int, tls_cert: str | Path | None, tls_key: str | Path | None
) -> uvicorn.Config:
    """Configures uvicorn.

    Args:
        application: The ASGI application.
        timeout: How many seconds a request and the client that reads an answer may each take.
        tls_cert: A certificate, with its chain, in PEM.
        tls_key: Its private key, in PEM.

    Raises:
        ValueError: If the certificate or its key is missing or not usable.
    """
    config = uvicorn.Config(
        application,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=timeout,
        timeout_graceful_shutdown=timeout,
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
    )
    if (tls_cert is None) != (tls_key is None):
        raise ValueError(f"Expected a certificate and its key. Received: {tls_cert=}, {tls_key=}")
    try:
        config.load()
    except (ssl.SSLError, OSError) as error:
        raise ValueError(
            f"Expected a certificate and its key in PEM. Received: {tls_cert}, {tls_key} ({error})"
        ) from error
    return config


class Server(uvicorn.Server):
    """A server that takes no more requests on SIGTERM or SIGINT, finishes those in flight, and ends.

    Args:
        config: The configuration of uvicorn.
        service: The service, which knows whether it drains and which requests are in flight.
        prepare: Awaited while the server already answers; the server ends if it fails.
        close: Awaited when no request is in flight any more.

    Attributes:
        failure: The error of `prepare`, if it has failed.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        service: "Service",
        prepare: Callable[[], Awaitable[None]],
        close: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(config)
        self._service, self._prepare, self._close = service, prepare, close
        self.failure: Exception | None = None

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Runs until a signal, or until `prepare` fails, and then raises its error."""
        allow_many_connections()
        super().run(sockets)
        SERVER.info("ended")
        if self.failure is not None:
            raise self.failure

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts as uvicorn does, but gives TLS handshakes as much time as a request."""
        await self.lifespan.startup()
        config = self.config
        seconds: dict[str, Any] = {}
        if config.ssl is not None:
            seconds = dict.fromkeys(("ssl_handshake_timeout", "ssl_shutdown_timeout"), config.timeout_keep_alive)
        connection: Any = partial(Protocol, config, self.server_state, self.lifespan.state)
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(connection, sock=each, ssl=config.ssl, backlog=config.backlog, **seconds)
            for each in sockets or ()
        ]
        self.started = True

    async def main_loop(self) -> None:
        preparing = asyncio.create_task(self._run_prepare())
        await super().main_loop()
        preparing.cancel()
        await self._close()

    async def on_tick(self, counter: int) -> bool:
        drained = self._service.draining and self._service.in_flight == 0
        return await super().on_tick(counter) or drained or self.failure is not None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # The second signal does not wait.
        self.should_exit = self.force_exit = self._service.draining
        self._service.drain()

    async def _run_prepare(self) -> None:
        try:
            await self._prepare()
        except Exception as error:
            self.failure = error
