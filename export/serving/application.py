"""Answers the routes of a server as an ASGI application: the Open Inference Protocol, image files, rows of
tables, metrics, and a page.

Every error is an HTTP status with {"error": text}. No route loads, unloads or changes anything.
"""

import hmac
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .classification import Classifier, read_top
from .errors import NotReady, QueueFull, RequestError
from .limits import Limits
from .model import VERSION, Model
from .observation import Metrics, Observer
from .offloading import offload
from .page import PAGE, PAGE_HEADERS, describe_model
from .protocol.bodies import Bodies, Body, too_large
from .protocol.datatypes import DATATYPES
from .protocol.v2 import HEADER_LENGTH, InferRequest, parse_request, render_response
from .rows import RowReader

BUSY = "The server is busy. Try again later."
FAILED = "The server has failed on this request."
# A number in an answer, with its name, takes about this many times the bytes that it has in an array.
_JSON_SHARE = 16
_RETRY = {"retry-after": "1"}
# All bodies may together hold this many of the largest.
_LARGEST_BODIES = 16
# A load balancer, and a browser that has no token yet, may ask for these.
_OPEN = ("/", "/v2/health/live", "/v2/health/ready")


class Service:
    """The models, limits, metrics and memory that the routes share.

    Args:
        models: The models by name.
        limits: The limits of the server.
        metrics: The metrics of the server.
        token: The token that every client must send, if there is one.
        serves_metrics: Whether there is a route for the metrics.

    Attributes:
        models: The models by name.
        token: The token that every client must send, if there is one.
        bodies: The memory of requests.
        others_in_flight: How many requests in flight are not those of the application.
        application: The ASGI application.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        limits: Limits,
        metrics: Metrics,
        token: str | None = None,
        serves_metrics: bool = True,
    ) -> None:
        self.models, self._limits, self._metrics, self.token = models, limits, metrics, token
        self._serves_metrics = serves_metrics
        self.bodies = Bodies(_LARGEST_BODIES * limits.max_body, limits.timeout)
        self.others_in_flight = 0
        self.application = Observer(self._make_application(), metrics)

    @property
    def draining(self) -> bool:
        """Whether the server is about to end and takes no more requests."""
        return self.application.draining

    def drain(self) -> None:
        """Finishes the requests in flight, and refuses new ones without waiting for them."""
        self.application.draining = True

    @property
    def in_flight(self) -> int:
        """How many requests from before the drain are in flight."""
        return self.application.in_flight + self.others_in_flight

    @property
    def ready(self) -> bool:
        """Whether every model is ready."""
        return not self.draining and all(model.ready for model in self.models.values())

    def _make_application(self) -> ASGIApp:
        model = "/v2/models/{model}"
        routes = [
            Route("/", self._page),
            Route("/models", self._describe_models),
            Route("/v2", self._server_metadata),
            Route("/v2/health/live", self._live),
            Route("/v2/health/ready", self._ready),
        ]
        if self._serves_metrics:
            routes.append(Route("/metrics", self._metrics_page))
        for path in (model, f"{model}/versions/{{version}}"):
            routes += [
                Route(path, self._model_metadata),
                Route(f"{path}/ready", self._model_ready),
                Route(f"{path}/infer", self._infer, methods=["POST"]),
                Route(f"{path}/classify", self._classify, methods=["POST"]),
                Route(f"{path}/predict", self._predict, methods=["POST"]),
            ]
        handlers: dict[Any, Any] = {
            RequestError: _answer_request_error,
            QueueFull: _answer_queue_full,
            NotReady: _answer_not_ready,
            HTTPException: _answer_http_error,
            ClientDisconnect: _answer_disconnect,
            Exception: _answer_failure,
        }
        application = Starlette(routes=routes, exception_handlers=handlers)
        application.router.redirect_slashes = False
        return application if self.token is None else _TokenGuard(application, self.token)

    async def _live(self, request: Request) -> Response:
        return _json({"live": True})

    async def _ready(self, request: Request) -> Response:
        return _json({"ready": self.ready}, 200 if self.ready else 503)

    async def _server_metadata(self, request: Request) -> Response:
        return _json(describe_server())

    async def _model_metadata(self, request: Request) -> Response:
        return _json(self._model(request).metadata)

    async def _model_ready(self, request: Request) -> Response:
        model = self._model(request)
        ready = model.ready and not self.draining
        return _json({"name": model.name, "ready": ready}, 200 if ready else 503)

    async def _metrics_page(self, request: Request) -> Response:
        return Response(self._metrics.render(), headers={"content-type": self._metrics.content_type})

    async def _page(self, request: Request) -> Response:
        return Response(PAGE, headers=PAGE_HEADERS)

    async def _describe_models(self, request: Request) -> Response:
        return _json({"models": [describe_model(model) for model in self.models.values()]})

    async def _infer(self, request: Request) -> Response:
        model = self._admit(request)
        with self._reserve(request) as body:
            content = await self.bodies.receive(request.stream(), body, self._limits.max_body)
            arguments = content, request.headers.get(HEADER_LENGTH), model.check_tensor
            parsed: InferRequest = await offload(len(content), parse_request, *arguments)
            await offload(len(content), model.check, parsed)
            outputs = await model.infer(parsed)
            size = sum(y.nbytes for y in outputs.values())
            answer, headers = await offload(size, render_response, parsed, model.name, VERSION, outputs)
        return Response(answer, headers=headers)

    async def _classify(self, request: Request) -> Response:
        model = self._admit(request)
        return await self._answer(request, model, model.classifier)

    async def _predict(self, request: Request) -> Response:
        model = self._admit(request)
        return await self._answer(request, model, model.rows)

    async def _answer(self, request: Request, model: Model, reader: Classifier | RowReader) -> Response:
        if not reader.offered:
            raise RequestError(f"Expected {reader.wanted}. Received: {model.name}, which takes {model.takes}")
        reader.check(request.headers.get("content-type", ""))
        query = request.query_params
        read_top(query)
        with self._reserve(request) as body:
            content = await self.bodies.receive(request.stream(), body, self._limits.max_body)
            batch = await reader.decode(content)
            ((name, x),) = batch.items()
            self.bodies.grow(body, x.nbytes)
            model.check_tensor(name, x.shape, DATATYPES[x.dtype.name])
            outputs = await model.infer_rows(batch)
            size = x.nbytes + _JSON_SHARE * sum(y.nbytes for y in outputs.values())
            answer = await offload(size, reader.render, batch, outputs, query)
        return Response(answer, headers={"content-type": "application/json"})

    def _admit(self, request: Request) -> Model:
        """Returns the model that a request is for, unless it takes none now."""
        model = self._model(request)
        request.scope["keras_skip.model"] = model.name
        self.admit(model)
        return model

    @contextmanager
    def _reserve(self, request: Request) -> Iterator[Body]:
        """Reserves memory for the body of a request, as its headers announce it."""
        encoding = request.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise RequestError(f"Expected a body that is not compressed. Received: {encoding[:40]}", 415)
        largest, declared = self._limits.max_body, request.headers.get("content-length", "0")
        if len(declared) > 18 or int(declared) > largest:
            raise too_large(largest)
        with self.bodies.reserve(int(declared)) as body:
            yield body

    def _model(self, request: Request) -> Model:
        return self.model(request.path_params["model"], request.path_params.get("version", VERSION))

    def model(self, name: str, version: str) -> Model:
        """Returns the model of a name and a version, or raises a RequestError."""
        model = self.models.get(name)
        if model is None:
            raise RequestError(f"Expected one of the models {', '.join(self.models)}. Received: {name[:80]}", 404)
        if version != VERSION:
            raise RequestError(f"Expected version {VERSION} of {name}. Received: {version[:80]}", 404)
        return model

    def admit(self, model: Model) -> None:
        """Raises NotReady or QueueFull if a model takes no request now."""
        if self.draining or not model.ready:
            raise NotReady(f"{model.name} is not ready.")
        if model.full:
            raise QueueFull


class _TokenGuard:
    """An application that answers only clients that send the token."""

    def __init__(self, application: ASGIApp, token: str) -> None:
        self._application, self._expected = application, f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = next((value for name, value in scope.get("headers", ()) if name == b"authorization"), b"")
        if scope["type"] != "http" or scope["path"] in _OPEN or hmac.compare_digest(given, self._expected):
            await self._application(scope, receive, send)
            return
        error = "Expected the header Authorization with a valid bearer token."
        await _json({"error": error}, 401, {"www-authenticate": "Bearer"})(scope, receive, send)


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, {**(headers or {}), "content-type": "application/json"})


def _answer_request_error(request: Request, error: RequestError) -> Response:
    return _json({"error": str(error)}, error.status)


def _answer_queue_full(request: Request, error: Exception) -> Response:
    return _json({"error": BUSY}, 503, _RETRY)


def _answer_not_ready(request: Request, error: Exception) -> Response:
    return _json({"error": str(error)}, 503, _RETRY)


def _answer_http_error(request: Request, error: HTTPException) -> Response:
    received = f"{request.method} {request.url.path}"[:120]
    return _json({"error": f"{error.detail}. Received: {received}"}, error.status_code, error.headers)


def _answer_disconnect(request: Request, error: Exception) -> Response:
    return Response(status_code=499)


def _answer_failure(request: Request, error: Exception) -> Response:
    return _json({"error": FAILED}, 500)


def describe_server() -> dict[str, Any]:
    """Returns the metadata of the server, as the protocol defines it."""
    try:
        version = metadata.version("keras-skip")
    except metadata.PackageNotFoundError:
        version = "unknown"
    return {"name": "keras-skip", "version": version, "extensions": ["binary_tensor_data"]}
