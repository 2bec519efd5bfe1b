"""Serving artifacts by the Open Inference Protocol.

onnxruntime runs the models, Starlette and uvicorn speak HTTP, grpcio gRPC, orjson reads and writes JSON,
prometheus_client counts.
The KServe SDK, which implements the protocol too, is not the engine. What it does differently from the protocol (other
errors, a failure without an id, routes that unload models) sits in its handlers, its data types and its repository;
what a server needs beyond the protocol (micro-batches, limits, a queue, deadlines, a drain) it does not have. All of
that would be replaced, and what remained were the routes, at the price of some sixty packages.

    _bodies.py       the memory of bodies
    _aside.py        work on large bodies, in a thread
    _json.py         JSON within limits, and its numbers
    _wire.py         gRPC's messages within limits
    _protocol.py     bodies and arrays
    _errors.py       why a request is not answered
    _batching.py     runs waiting requests together
    _model.py        an artifact behind the server
    _application.py  the routes
    _http.py         deadlines, limits and the drain
    _observation.py  metrics and the access log
    _page.py         the page for a browser
    _grpc.py         the protocol over gRPC, beside HTTP
    _ray.py          the same application in each replica on Ray Serve
"""

import socket
import ssl
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import error_line
from ..storage.manifest import check_files, read_manifest

# The most open files that macOS lets a process have, whatever it says.
_MACOS_FILES = 10240


def serve(
    *artifacts: str | Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    grpc_port: int | None = None,
    device: str = "cpu",
    max_batch_size: int = 32,
    max_delay: float = 0.002,
    queue: int = 256,
    max_body: int = 16 * 2**20,
    timeout: int = 30,
    token_file: str | Path | None = None,
    tls_cert: str | Path | None = None,
    tls_key: str | Path | None = None,
    access_log: bool = True,
) -> None:
    """Serves artifacts until the process gets SIGTERM or SIGINT, and then finishes what is in flight.

    The server is live at once, and ready when every model has computed here what was recorded at its export. Neither
    Keras nor TensorFlow is needed.

    Args:
        artifacts: Folders of artifacts, or "NAME=FOLDER" to serve one by another name than its own.
        host: The address to listen on.
        port: The port; 0 takes a free one, which the log names.
        grpc_port: The port for gRPC beside HTTP, if it is wanted; 0 takes a free one.
        device: "cpu" or "cuda".
        max_batch_size: How many examples to run at once, and the most that a request may have. Requests run together
            only where the export has proven that examples are independent.
        max_delay: How many seconds a request may wait for others to run with, if some are about to come.
        queue: How many requests of a model may wait; others are refused with 503.
        max_body: The most bytes of a request's body; more are refused with 413.
        timeout: How many seconds a request, a TLS handshake, and the client that reads an answer may each take.
        token_file: A file with the bearer token that clients must send; None serves everyone.
        tls_cert: A certificate, with its chain, in PEM.
        tls_key: Its private key, in PEM.
        access_log: Whether to write a line for each answer to standard error.

    Raises:
        FileNotFoundError: If there is no artifact, or a file is missing.
        VerificationError: If an artifact is not what was exported.
        ParityError: If a model computes something else here than at its export.
        DeviceError: If the device is not there.
        OSError: If the port is taken.
        ValueError: If an argument is not usable, or the extra "serve" not installed, or "grpc" where it is asked for.

    Example:
        >>> serve("runs/resnet20/export", port=8000)
    """
    try:
        import uvicorn

        from .application import Service
        from .http_server import Protocol, Server
        from .model import Limits, Model, index_models, split_name, warm_up
        from .observation import SERVER, Metrics, format_address, start_logging
    except ModuleNotFoundError as error:
        raise _missing_extra("serve", error) from error
    limits, metrics = Limits(max_batch_size, max_delay, queue, max_body, timeout), Metrics()
    token = None if token_file is None else _read_token(Path(token_file))
    models = index_models([Model(*split_name(artifact), device, limits, metrics) for artifact in artifacts])
    service = Service(models, limits, metrics, token)
    config = uvicorn.Config(
        service.application,
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
    _load_tls(config, tls_cert, tls_key)
    beside = None if grpc_port is None else _make_grpc_server(service, metrics, limits, tls_cert, tls_key)
    listening = _listen(host, port)
    _allow_many_connections()
    log = start_logging(access_log)

    async def prepare() -> None:
        scheme = "http://" if tls_cert is None else "https://"
        SERVER.info("listening on %s", format_address(host, listening.getsockname()[1], scheme))
        if beside is not None:
            taken = await beside.start(format_address(host, grpc_port, ""))
            SERVER.info("listening on %s", format_address(host, taken, "grpc://"))
        await warm_up(list(models.values()))
        SERVER.info("ready: %s", ", ".join(models))

    async def close() -> None:
        if beside is not None:
            await beside.stop(0 if server.force_exit else timeout)

    server = Server(config, service, prepare, close)
    try:
        server.run([listening])
        SERVER.info("ended")
    finally:
        log.stop()
    if server.failure is not None:
        raise server.failure


def run_on_ray(
    *artifacts: str | Path,
    address: str = "local",
    host: str = "127.0.0.1",
    port: int = 8000,
    device: str = "cpu",
    replicas: int = 1,
    max_replicas: int | None = None,
    cpus: float = 1.0,
    max_batch_size: int = 32,
    max_delay: float = 0.002,
    queue: int = 256,
    max_body: int = 16 * 2**20,
    timeout: int = 30,
    token_file: str | Path | None = None,
) -> None:
    """Runs replicas on Ray Serve until the process gets SIGTERM or SIGINT, then lets them finish.

    Each replica answers as `serve` does, the routes, the checks, the micro-batches and the queue included; what Ray's
    proxy says itself is not JSON. A replica that dies is replaced. The requests that were in it fail with 500 or 503:
    a client repeats them, which is safe, since an inference changes nothing.

    Args:
        artifacts: Folders of artifacts, on every machine of the cluster at the same path, or "NAME=FOLDER" to serve one
            by another name than its own.
        address: Of Ray's cluster, or "auto" for one that runs on this machine; "local" starts one here, which listens
            only to this machine.
        host: The address that Ray's proxy listens on.
        port: The port; 0 takes a free one, in a cluster that is started here.
        device: "cpu" or "cuda", which takes a GPU for each replica.
        replicas: How many replicas, or the fewest.
        max_replicas: The most; their number then follows the requests in flight. None is a fixed number.
        cpus: Cores that are reserved for a replica; onnxruntime has as many threads.
        max_batch_size: How many examples a replica runs at once, and the most that a request may have.
        max_delay: How many seconds a request may wait for others to be run with.
        queue: How many requests may wait at a replica; others are refused with 503.
        max_body: The most bytes of a request's body; more are refused with 413.
        timeout: Seconds that a request may take in all.
        token_file: A file with the bearer token that clients must send; None serves everyone.

    Raises:
        FileNotFoundError: If there is no artifact, or a file is missing.
        VerificationError: If the artifact is not what was exported.
        ExportError: If Ray or a replica does not start, such as where a model computes something else than at its
            export.
        ValueError: If an argument is not usable, or the extra "ray" not installed.

    Example:
        >>> run_on_ray("runs/resnet20/export", replicas=2, max_replicas=8)
    """
    try:
        from .model import Limits, split_name
        from .ray_serve import Replication, run
    except ModuleNotFoundError as error:
        raise _missing_extra("ray", error) from error
    limits = Limits(max_batch_size, max_delay, queue, max_body, timeout)
    replication = Replication(replicas, replicas if max_replicas is None else max_replicas, cpus, device)
    token = None if token_file is None else _read_token(Path(token_file))
    if not artifacts:
        raise ValueError("Expected at least one artifact. Received: none")
    found = [(path.resolve(), name) for path, name in map(split_name, artifacts)]
    for path, _ in found:
        check_files(path, read_manifest(path))
    if address == "local":
        # Ray would start, and then never answer on a port that is taken.
        with _listen(host, port) as free:
            port = free.getsockname()[1]
    run(found, address, replication, limits, token, {"host": host, "port": port})


def _missing_extra(extra: str, error: Exception) -> ValueError:
    return ValueError(
        f'Expected the extra "{extra}": pip install ".[{extra}]" in a checkout of keras-skip. Received: {error}'
    )


def _make_grpc_server(
    service: Any, metrics: Any, limits: Any, tls_cert: str | Path | None, tls_key: str | Path | None
) -> Any:
    try:
        from .grpc_server import GrpcServer
    except ModuleNotFoundError as error:
        raise _missing_extra("grpc", error) from error
    tls = None if tls_cert is None or tls_key is None else (tls_cert, tls_key)
    return GrpcServer(service, metrics, limits, tls)


def _read_token(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"Expected a file with a token. Received: {path} ({error_line(error)})") from error
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(f"Expected a token of ASCII characters without spaces in {path}. Received: something else")
    return token


def _load_tls(config: Any, tls_cert: str | Path | None, tls_key: str | Path | None) -> None:
    if (tls_cert is None) != (tls_key is None):
        raise ValueError("Expected a certificate and its key. Received: one of them")
    try:
        config.load()
    except (ssl.SSLError, OSError) as error:
        raise ValueError(
            f"Expected a certificate and its key in PEM. Received: {tls_cert}, {tls_key}, and {error}"
        ) from error


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port < 2**16:
        raise ValueError(f"Expected a port from 0 to {2**16 - 1}. Received: {port}")
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise OSError(f"Expected an address to listen on. Received: {host}:{port}, and {error}") from error


def _allow_many_connections() -> None:
    """Raises this process's own limit on open files as far as it may; where it may not, the limit stays."""
    if sys.platform == "win32":
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS says that there is no limit, and refuses to have none.
    wanted = _MACOS_FILES if sys.platform == "darwin" and most > _MACOS_FILES else most
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


__all__: Sequence[str] = ("run_on_ray", "serve")
