"""Serves artifacts by the Open Inference Protocol.

onnxruntime runs the models, Starlette and uvicorn speak HTTP, grpcio speaks gRPC, orjson reads and writes JSON, and
prometheus_client counts. The KServe SDK implements the protocol too, but differs from it in errors, failures without an
id and routes that unload models, and lacks micro-batches, limits, a queue, deadlines and a drain. We would replace its
handlers, data types and repository, and keep some sixty packages only for the routes.

    protocol/        requests and answers: bodies within limits on memory, JSON, binary data, protobuf
    errors.py        the reasons why a request is not answered
    offloading.py    works on large bodies in a thread
    batching.py      runs waiting requests together
    model.py         an artifact behind the server
    application.py   the routes
    http_server.py   deadlines, limits and the drain
    observation.py   metrics and the access log
    startup.py       the token, the socket and the open files
    page.py          the page for a browser
    grpc_server.py   the protocol over gRPC
    ray_serve.py     the same application in each replica on Ray Serve
    deployment.py    files for Triton and KServe
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.providers import Device
from ..storage.manifest import check_files, read_manifest
from .startup import check_port, listen, missing_extra, read_token

if TYPE_CHECKING:
    from .application import Service
    from .grpc_server import GrpcServer
    from .limits import Limits
    from .observation import Metrics


def serve(
    *artifacts: str | Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    grpc_port: int | None = None,
    device: Device = "cpu",
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
    """Serves artifacts until SIGTERM or SIGINT, and then finishes the requests in flight.

    The server is live at once. It is ready when every model has reproduced the outputs recorded at its export. It
    needs neither Keras nor TensorFlow.

    Args:
        artifacts: Folders of artifacts, or "NAME=FOLDER" to serve one under another name.
        host: The address to listen on.
        port: The port; 0 takes a free one, which the log names.
        grpc_port: The port for gRPC; 0 takes a free one, and None serves no gRPC.
        device: The device, as in `load`.
        max_batch_size: How many examples to run at once, and the most that a request may have. Requests run together
            only where the export has proven that examples are independent.
        max_delay: How many seconds a request may wait for others to run with, if some are about to come.
        queue: How many requests of a model may wait; others are refused with 503.
        max_body: The largest body of a request, in bytes; larger bodies are refused with 413.
        timeout: How many seconds a request, a TLS handshake, and a client that reads an answer may each take.
        token_file: A file with the bearer token that clients must send; None serves everyone.
        tls_cert: A certificate, with its chain, in PEM.
        tls_key: Its private key, in PEM.
        access_log: Whether to write a line for each answer to standard error.

    Raises:
        FileNotFoundError: If there is no artifact, or a file is missing.
        VerificationError: If an artifact was changed since its export.
        ParityError: If a model computes something else here than at its export.
        DeviceError: If the device is not there.
        OSError: If the port is taken.
        ValueError: If an argument is invalid, or the extra "serve" or the requested extra "grpc" is not installed.

    Example:
        >>> serve("runs/resnet20/export", port=8000)
    """
    try:
        from .application import Service
        from .http_server import Server, make_config
        from .limits import Limits
        from .model import load_models, warm_up
        from .observation import SERVER, Metrics, announce, start_logging
    except ModuleNotFoundError as error:
        raise missing_extra("serve", error) from error
    limits, metrics = Limits(max_batch_size, max_delay, queue, max_body, timeout), Metrics()
    check_port("port", port)
    check_port("grpc_port", 0 if grpc_port is None else grpc_port)
    token = read_token(token_file)
    models = load_models(artifacts, device, limits, metrics)
    service = Service(models, limits, metrics, token)
    config = make_config(service.application, timeout, tls_cert, tls_key)
    tls = None if tls_cert is None or tls_key is None else (tls_cert, tls_key)
    grpc_server = None if grpc_port is None else _make_grpc_server(service, metrics, limits, tls)
    http_socket = listen(host, port)
    log = start_logging(access_log)

    async def prepare() -> None:
        scheme = "http://" if tls_cert is None else "https://"
        announce(host, http_socket.getsockname()[1], scheme)
        if grpc_server is not None and grpc_port is not None:
            announce(host, await grpc_server.start(host, grpc_port), "grpc://")
        await warm_up(list(models.values()))
        SERVER.info("ready: %s", ", ".join(models))

    async def close() -> None:
        if grpc_server is not None:
            await grpc_server.stop(0 if server.force_exit else timeout)

    server = Server(config, service, prepare, close)
    try:
        server.run([http_socket])
    finally:
        log.stop()


def run_on_ray(
    *artifacts: str | Path,
    address: str = "local",
    host: str = "127.0.0.1",
    port: int = 8000,
    device: Device = "cpu",
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
    """Runs replicas on Ray Serve until SIGTERM or SIGINT, and then lets them finish.

    Each replica answers as `serve` does, with its routes, checks, micro-batches and queue. Answers of Ray's proxy
    itself are not JSON. Ray replaces a replica that dies. Its requests fail with 500 or 503, and clients can repeat
    them safely, since an inference changes nothing.

    Args:
        artifacts: Folders of artifacts, or "NAME=FOLDER" to serve one under another name. Every machine of the cluster
            has them at the same path.
        address: The address of Ray's cluster, or "auto" for one that runs on this machine; "local" starts one here that
            listens only to this machine.
        host: The address that Ray's proxy listens on.
        port: The port; 0 takes a free one, in a cluster that is started here.
        device: The device, as in `load`; one of NVIDIA's takes a GPU for each replica.
        replicas: The number of replicas, or the fewest if it varies.
        max_replicas: The most replicas, whose number then follows the requests in flight; None keeps it fixed.
        cpus: The cores that are reserved for a replica, whose onnxruntime has as many threads.
        max_batch_size: How many examples a replica runs at once, and the most that a request may have.
        max_delay: How many seconds a request may wait for others to run with.
        queue: How many requests may wait at a replica; others are refused with 503.
        max_body: The largest body of a request, in bytes; larger bodies are refused with 413.
        timeout: How many seconds a request may take in all.
        token_file: A file with the bearer token that clients must send; None serves everyone.

    Raises:
        FileNotFoundError: If there is no artifact, or a file is missing.
        VerificationError: If an artifact was changed since its export.
        ExportError: If Ray or a replica does not start, for example because a model computes something else than at
            its export.
        ValueError: If an argument is invalid, or the extra "ray" is not installed.

    Example:
        >>> run_on_ray("runs/resnet20/export", replicas=2, max_replicas=8)
    """
    try:
        from .limits import Limits
        from .model import split_name
        from .ray_serve import Replication, run
    except ModuleNotFoundError as error:
        raise missing_extra("ray", error) from error
    limits = Limits(max_batch_size, max_delay, queue, max_body, timeout)
    replication = Replication(replicas, replicas if max_replicas is None else max_replicas, cpus, device)
    token = read_token(token_file)
    if not artifacts:
        raise ValueError("Expected at least one artifact. Received: none")
    found = [(path.resolve(), name) for path, name in map(split_name, artifacts)]
    for path, _ in found:
        check_files(path, read_manifest(path))
    if address == "local":
        # Ray would start on a port that is taken, and never answer.
        with listen(host, port) as free:
            port = free.getsockname()[1]
    run(found, address, replication, limits, token, {"host": host, "port": port})


def _make_grpc_server(
    service: "Service", metrics: "Metrics", limits: "Limits", tls: tuple[str | Path, str | Path] | None
) -> "GrpcServer":
    try:
        from .grpc_server import GrpcServer
    except ModuleNotFoundError as error:
        raise missing_extra("grpc", error) from error
    return GrpcServer(service, metrics, limits, tls)


__all__: Sequence[str] = ("run_on_ray", "serve")
