"""Answers the Open Inference Protocol over gRPC, beside HTTP, with the same models, checks and queue.

The messages are those of NVIDIA's tritonclient. A request is converted to the content of HTTP's JSON, and is then the
same request. Answers are always binary. Errors have the texts of HTTP, and a status: INVALID_ARGUMENT, NOT_FOUND,
UNAVAILABLE for 503, UNAUTHENTICATED, DEADLINE_EXCEEDED or INTERNAL.

gRPC calls a method before its one message has arrived, as if it were a stream, so that the token is checked first and
the message has as much time to arrive as in HTTP. Messages come as bytes, and are read like HTTP's bodies.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as messages

from .application import BUSY, FAILED, Service, describe_server
from .errors import NotReady, QueueFull, RequestError
from .limits import Limits
from .model import VERSION
from .observation import ACCESS, SERVER, Metrics, format_address
from .offloading import offload
from .protocol.datatypes import DATATYPES
from .protocol.protobuf import check_fields
from .protocol.v2 import InferRequest, read_content

_SERVICE = "inference.GRPCInferenceService"
# A load balancer may call these without a token.
_OPEN = ("ServerLive", "ServerReady")
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
}
# This many calls may wait for their message.
_ARRIVING = 256
# gRPC's options have at most this size.
_LARGEST_OPTION = 2**31 - 1
# The bit of no compression. gRPC would unpack a message before anything can ask for its size.
_UNCOMPRESSED = 1
# The fields that hold the numbers of a type. Half precision has none.
_FIELDS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}


class GrpcServer:
    """Answers over gRPC in the event loop that starts it.

    Args:
        service: The service that HTTP uses too.
        metrics: The metrics that count answers.
        limits: The limits of the server.
        tls: The files of a certificate and its key, in PEM.
    """

    def __init__(
        self, service: Service, metrics: Metrics, limits: Limits, tls: tuple[str | Path, str | Path] | None = None
    ) -> None:
        self._service, self._metrics, self._limits, self._tls = service, metrics, limits, tls
        self._server: Any = None
        # Calls that wait for their message; the oldest comes first.
        self._arriving: dict[asyncio.Timeout, None] = {}

    async def start(self, host: str, port: int) -> int:
        """Listens on a port of a host, or on a free one for 0.

        Returns:
            The port.

        Raises:
            OSError: If the port is taken.
        """
        address = format_address(host, port, "")
        patience = min(self._limits.timeout * 1000, _LARGEST_OPTION)
        options = {
            "grpc.max_receive_message_length": min(self._limits.max_body, _LARGEST_OPTION),
            "grpc.max_send_message_length": -1,
            "grpc.so_reuseport": 0,
            "grpc.keepalive_time_ms": patience,
            "grpc.keepalive_timeout_ms": patience,
            "grpc.server_handshake_timeout_ms": patience,
            "grpc.compression_enabled_algorithms_bitset": _UNCOMPRESSED,
            "grpc.per_message_decompression": 0,
        }
        # Requests that a queue refuses count too, for a moment.
        most = 2 * len(self._service.models) * (self._limits.queue + self._limits.max_batch_size) + _ARRIVING
        self._server = grpc.aio.server(options=list(options.items()), maximum_concurrent_rpcs=most)
        methods = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ServerMetadata": self._server_metadata,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._infer,
        }
        handlers = {
            name: grpc.stream_unary_rpc_method_handler(self._wrap_method(name, method))
            for name, method in methods.items()
        }
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_SERVICE, handlers)])
        try:
            if self._tls is None:
                port = self._server.add_insecure_port(address)
            else:
                certificate, key = (Path(file).read_bytes() for file in self._tls)
                port = self._server.add_secure_port(address, grpc.ssl_server_credentials([(key, certificate)]))
        except RuntimeError as error:
            raise OSError(f"The server cannot listen on {address}: {error}") from error
        await self._server.start()
        return int(port)

    async def stop(self, patience: float) -> None:
        """Stops after at most so many seconds, in which answers on their way may arrive."""
        if self._server is not None:
            await self._server.stop(patience)

    def _wrap_method(self, name: str, method: Callable[[Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
        """Wraps a method for gRPC: turns errors into a status, and counts and logs answers."""
        kind = getattr(messages, f"{name}Request")

        async def call(requests: Any, context: Any) -> Any:
            # 499 stands for a client that leaves before the answer, as in HTTP.
            start, status, error, request, answer = time.perf_counter(), 499, "", None, None
            waited_for = not self._service.draining
            self._service.others_in_flight += waited_for
            try:
                self._check_token(name, context)
                message = await self._receive_message(requests)
                with self._service.bodies.reserve(len(message)):
                    request = await offload(len(message), _decode, kind, message)
                    response = await method(request)
                    answer = await offload(response.ByteSize(), response.SerializeToString)
                status = 200
            except RequestError as refused:
                status, error = refused.status, str(refused)
            except QueueFull:
                status, error = 503, BUSY
            except NotReady as refused:
                status, error = 503, str(refused)
            except Exception:  # As in HTTP, an error belongs to the request.
                SERVER.exception("failed on a request")
                status, error = 500, FAILED
            finally:
                self._service.others_in_flight -= waited_for
                self._observe(name, request, context.peer(), status, time.perf_counter() - start)
            if status != 200:
                await context.abort(_CODES[status], error)
            return answer

        return call

    async def _receive_message(self, requests: Any) -> bytes:
        """Waits for the one message of a request."""
        seconds = self._limits.timeout
        try:
            async with asyncio.timeout(seconds) as deadline:
                self._arriving[deadline] = None
                if len(self._arriving) > _ARRIVING:
                    # The call that has waited longest makes room.
                    longest = next(iter(self._arriving))
                    del self._arriving[longest]
                    longest.reschedule(0)
                return await anext(aiter(requests))
        except TimeoutError:
            when = f"within {seconds} seconds" if deadline in self._arriving else "sooner, while others wait"
            raise RequestError(f"Expected a request {when}. Received: a part of it", 408) from None
        except StopAsyncIteration:
            raise RequestError("Expected a message. Received: none") from None
        finally:
            self._arriving.pop(deadline, None)

    def _check_token(self, name: str, context: Any) -> None:
        token = self._service.token
        if token is None or name in _OPEN:
            return
        given = dict(context.invocation_metadata()).get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise RequestError("Expected authorization with a valid bearer token.", 401)

    def _observe(self, name: str, request: Any, peer: str, status: int, seconds: float) -> None:
        if name == "ModelInfer" and request is not None and request.model_name in self._service.models:
            self._metrics.count_answer(request.model_name, status, seconds)
        if ACCESS.isEnabledFor(logging.INFO):
            ACCESS.info('%s "gRPC %s" %d %.1f ms', unquote(peer).partition(":")[2], name, status, seconds * 1e3)

    async def _live(self, request: Any) -> Any:
        return messages.ServerLiveResponse(live=True)

    async def _ready(self, request: Any) -> Any:
        return messages.ServerReadyResponse(ready=self._service.ready)

    async def _server_metadata(self, request: Any) -> Any:
        return messages.ServerMetadataResponse(**describe_server())

    async def _model_ready(self, request: Any) -> Any:
        model = self._service.model(request.name, request.version or VERSION)
        return messages.ModelReadyResponse(ready=model.ready and not self._service.draining)

    async def _model_metadata(self, request: Any) -> Any:
        metadata = self._service.model(request.name, request.version or VERSION).metadata
        # The message has no place for the columns of a table.
        return messages.ModelMetadataResponse(**{key: metadata[key] for key in metadata if key != "parameters"})

    async def _infer(self, request: Any) -> Any:
        model = self._service.model(request.model_name, request.model_version or VERSION)
        self._service.admit(model)
        parsed = await offload(request.ByteSize(), _parse_request, request, model.check_tensor)
        await offload(request.ByteSize(), model.check, parsed)
        outputs = await model.infer(parsed)
        wanted = {name: outputs[name] for name in parsed.outputs or outputs}
        return await offload(sum(y.nbytes for y in wanted.values()), _make_response, parsed, model.name, wanted)


def _decode(kind: Any, message: bytes) -> Any:
    check_fields(message)
    try:
        return kind.FromString(message)
    except DecodeError as error:
        raise RequestError(f"Expected a message of {kind.DESCRIPTOR.name}. Received: something else") from error


def _parse_request(request: Any, check_tensor: Callable[[str, list[int], str], None]) -> InferRequest:
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise RequestError(f"Expected raw contents of each of {len(request.inputs)} inputs. Received: {len(raw)}")
    content = {
        "inputs": [_read_tensor(tensor, raw[i] if raw else None) for i, tensor in enumerate(request.inputs)],
        "outputs": [{"name": o.name, "parameters": _read_parameters(o.parameters)} for o in request.outputs],
        "parameters": _read_parameters(request.parameters),
        **({"id": request.id} if request.id else {}),
    }
    return read_content(content, memoryview(raw[0] if len(raw) == 1 else b"".join(raw)), check_tensor)


def _read_tensor(tensor: Any, raw: bytes | None) -> dict[str, Any]:
    content = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
    parameters = _read_parameters(tensor.parameters)
    if raw is None:
        field = _FIELDS.get(tensor.datatype)
        return content | {"parameters": parameters, "data": list(getattr(tensor.contents, field)) if field else None}
    if tensor.HasField("contents"):
        raise RequestError(f"Expected raw contents or contents of {tensor.name[:80]}. Received: both")
    return content | {"parameters": parameters | {"binary_data_size": len(raw)}}


def _read_parameters(parameters: Any) -> dict[str, Any]:
    return {
        name: getattr(value, value.WhichOneof("parameter_choice") or "", None) for name, value in parameters.items()
    }


def _make_response(request: InferRequest, model: str, outputs: dict[str, np.ndarray]) -> Any:
    tensors: Sequence[Any] = [
        messages.ModelInferResponse.InferOutputTensor(name=name, datatype=DATATYPES[y.dtype.name], shape=y.shape)
        for name, y in outputs.items()
    ]
    raw = [y.astype(y.dtype.newbyteorder("<"), copy=False).tobytes() for y in outputs.values()]
    return messages.ModelInferResponse(
        model_name=model, model_version=VERSION, id=request.id or "", outputs=tensors, raw_output_contents=raw
    )
