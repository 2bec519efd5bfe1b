"""The commands that serve a proven artifact: `serve` and `deploy`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .. import _completion, console
from .._app import command
from .._options import (
    A_PORT,
    ABOVE_ZERO,
    Artifact,
    Host,
    MaxBatchSize,
    MaxDelay,
    Overwrite,
    Port,
    Queue,
    ServingDevice,
    TokenFile,
    choice,
    number,
    out,
)

Artifacts = Annotated[
    list[str],
    typer.Argument(
        metavar="ARTIFACT",
        autocompletion=_completion.artifacts,
        help="Folders of artifacts; NAME=FOLDER serves one under that name.",
    ),
]
GrpcPort = Annotated[
    int | None,
    number(metavar="PORT", check=A_PORT, help="Serve gRPC too, on this port; needs the extra grpc. Default: no gRPC."),
]
MaxBody = Annotated[int, number(metavar="BYTES", help="The size of the largest request.")]
Timeout = Annotated[
    int, number(metavar="SECONDS", help="How long a client may take to send a request, or to read its answer.")
]
Certificate = Annotated[Path | None, typer.Option(metavar="FILE", help="A certificate in PEM, for HTTPS.")]
Key = Annotated[Path | None, typer.Option(metavar="FILE", help="Its key in PEM.")]
AccessLog = Annotated[bool, typer.Option(help="Log a line for each answer.")]


@command()
def serve(
    artifacts: Artifacts,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    grpc_port: GrpcPort = None,
    device: ServingDevice = "cpu",
    max_batch_size: MaxBatchSize = 32,
    max_delay_ms: MaxDelay = 2,
    queue: Queue = 256,
    max_body: MaxBody = 16 * 2**20,
    timeout: Timeout = 30,
    token_file: TokenFile = None,
    tls_cert: Certificate = None,
    tls_key: Key = None,
    access_log: AccessLog = True,
) -> None:
    """Serve artifacts over HTTP and gRPC, with a page for a browser.

    The server speaks the Open Inference Protocol and needs the extra `serve`. On Ctrl-C or SIGTERM it answers the
    requests that it has, and then ends.
    """
    from export import serve as run_server

    run_server(
        *artifacts,
        host=host,
        port=port,
        grpc_port=grpc_port,
        device=device,
        max_batch_size=max_batch_size,
        max_delay=max_delay_ms / 1000,
        queue=queue,
        max_body=max_body,
        timeout=timeout,
        token_file=token_file,
        tls_cert=tls_cert,
        tls_key=tls_key,
        access_log=access_log,
    )


# The targets of the options that do not fit all of them.
_FOR: dict[str, tuple[str, ...]] = dict.fromkeys(("out", "overwrite"), ("triton", "kserve"))
_FOR |= dict.fromkeys(("max_batch_size", "max_delay_ms", "queue"), ("triton", "ray"))
_FOR |= {"storage_uri": ("kserve",)}
_FOR |= dict.fromkeys(("replicas", "max_replicas", "cpus", "device", "address", "host", "port", "token_file"), ("ray",))

Target = Annotated[
    Literal["triton", "kserve", "ray"],
    choice(
        "triton",
        "kserve",
        "ray",
        option=("--target", "-t"),
        help="A model repository for Triton, a manifest for KServe, or replicas on Ray Serve.",
    ),
]
Repository = Annotated[Path, out("For triton, the model repository; for kserve, the folder of the manifest.")]
Name = Annotated[
    str | None, typer.Option("--name", "-n", metavar="NAME", help="The name for clients. Default: the artifact's own.")
]
StorageUri = Annotated[
    str | None,
    typer.Option(metavar="URI", help="Required for kserve: where the cluster finds the model repository."),
]
Replicas = Annotated[int, number(help="For ray: the number of replicas; with --max-replicas, the fewest.")]
MaxReplicas = Annotated[
    int | None, number(help="For ray: the most replicas; their number then follows the load. Default: fixed.")
]
Cpus = Annotated[float, number(check=ABOVE_ZERO, help="For ray: CPU cores of each replica.")]
Address = Annotated[
    str,
    typer.Option(metavar="ADDRESS", help="For ray: the cluster; auto finds a running one, local starts one."),
]


@command()
def deploy(
    context: typer.Context,
    artifact: Artifact,
    target: Target,
    out: Repository = Path("models"),
    name: Name = None,
    storage_uri: StorageUri = None,
    max_batch_size: MaxBatchSize = 32,
    max_delay_ms: MaxDelay = 2,
    queue: Queue = 256,
    overwrite: Overwrite = False,
    replicas: Replicas = 1,
    max_replicas: MaxReplicas = None,
    cpus: Cpus = 1,
    device: ServingDevice = "cpu",
    address: Address = "local",
    host: Host = "127.0.0.1",
    port: Port = 8000,
    token_file: TokenFile = None,
) -> None:
    """Serve an artifact on Triton, KServe or Ray Serve.

    For triton and kserve this writes files. For ray, which needs the extra `ray`, it serves until Ctrl-C or SIGTERM;
    --device, --host, --port and --token-file are only for ray.
    """
    _check_options(context, target)
    batching: dict[str, Any] = {"max_batch_size": max_batch_size, "max_delay": max_delay_ms / 1000, "queue": queue}
    if target == "ray":
        from export import run_on_ray

        run_on_ray(
            artifact if name is None else f"{name}={artifact}",
            address=address,
            host=host,
            port=port,
            device=device,
            replicas=replicas,
            max_replicas=max_replicas,
            cpus=cpus,
            token_file=token_file,
            **batching,
        )
        return
    from export import deploy as write

    written = write(artifact, out, target=target, name=name, storage_uri=storage_uri, overwrite=overwrite, **batching)
    console.show_record("Deployment", {"written": written})


def _check_options(context: typer.Context, target: str) -> None:
    """Refuses options of other targets, and a kserve without --storage-uri."""
    for option, targets in _FOR.items():
        source = context.get_parameter_source(option)
        if target not in targets and source is not None and source.name == "COMMANDLINE":
            name = f"--{option.replace('_', '-')}"
            raise ValueError(f"Expected {name} only for {' or '.join(targets)}. Received: {name} for {target}")
    if target == "kserve" and context.params["storage_uri"] is None:
        raise ValueError("Expected --storage-uri for kserve, such as s3://bucket/models. Received: none")
