"""From a proven file to answers: `serve` and `deploy`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from . import console
from ._app import Overwrite, app


@app.command()
def serve(
    artifacts: Annotated[
        list[str], typer.Argument(metavar="ARTIFACT...", help="Folders of artifacts; NAME=FOLDER gives one a name.")
    ],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 takes a free one.")] = 8000,
    grpc_port: Annotated[
        int | None, typer.Option(help="A port for gRPC beside HTTP; needs the extra grpc. Default: none.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    max_batch_size: Annotated[int, typer.Option(help="Examples in one run, and so in one request.")] = 32,
    max_delay_ms: Annotated[float, typer.Option(help="How long a request may wait for others to be run with.")] = 2,
    queue: Annotated[int, typer.Option(help="Requests of a model that may wait; others are refused.")] = 256,
    max_body: Annotated[int, typer.Option(help="Bytes of a request.")] = 16 * 2**20,
    timeout: Annotated[
        int, typer.Option(help="Seconds in which a request must arrive, and a client must read its answer.")
    ] = 30,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the bearer token that clients must send. Default: none.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="A certificate in PEM, for HTTPS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key in PEM.")] = None,
    access_log: Annotated[bool, typer.Option(help="Write a line for each answer.")] = True,
) -> None:
    """Serve exported networks by the Open Inference Protocol, and on a page for a browser.

    It needs the extra `serve`. Ctrl-C or SIGTERM ends it when what is in flight is answered.
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


class Target(StrEnum):
    """Where `deploy` goes."""

    triton = "triton"
    kserve = "kserve"
    ray = "ray"


# The targets of the options that are not for all of them.
_FOR: dict[str, tuple[Target, ...]] = dict.fromkeys(("out", "overwrite"), (Target.triton, Target.kserve))
_FOR |= dict.fromkeys(("max_batch_size", "max_delay_ms", "queue"), (Target.triton, Target.ray))
_FOR |= {"storage_uri": (Target.kserve,)}
_FOR |= dict.fromkeys(
    ("replicas", "max_replicas", "cpus", "device", "address", "host", "port", "token_file"), (Target.ray,)
)


@app.command()
def deploy(
    context: typer.Context,
    artifact: Annotated[Path, typer.Argument(help="The folder of an artifact.")],
    target: Annotated[
        Target, typer.Option(help="A model repository for Triton, a manifest for KServe, or replicas on Ray Serve.")
    ],
    out: Annotated[
        Path, typer.Option(help="For triton: the model repository. For kserve: the folder of the manifest.")
    ] = Path("models"),
    name: Annotated[str | None, typer.Option(help="What clients call it. Default: the artifact's own name.")] = None,
    storage_uri: Annotated[
        str | None, typer.Option(help="For kserve, and required there: where the cluster finds the model repository.")
    ] = None,
    max_batch_size: Annotated[int, typer.Option(help="For triton and ray: examples in one run.")] = 32,
    max_delay_ms: Annotated[
        float, typer.Option(help="For triton and ray: how long a request may wait for others.")
    ] = 2,
    queue: Annotated[int, typer.Option(help="For triton and ray: requests that may wait, at each replica.")] = 256,
    overwrite: Overwrite = False,
    replicas: Annotated[int, typer.Option(help="For ray: how many replicas, or the fewest.")] = 1,
    max_replicas: Annotated[
        int | None, typer.Option(help="For ray: the most replicas; their number follows the load. Default: the fewest.")
    ] = None,
    cpus: Annotated[float, typer.Option(help="For ray: cores for a replica.")] = 1,
    device: Annotated[str, typer.Option(help="For ray: cpu, or cuda with a GPU for each replica.")] = "cpu",
    address: Annotated[
        str, typer.Option(help="For ray: the cluster's address, auto for one that runs here, local to start one.")
    ] = "local",
    host: Annotated[str, typer.Option(help="For ray: the address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="For ray: the port; 0 takes a free one.")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(help="For ray: a file with the bearer token that clients must send. Default: none.")
    ] = None,
) -> None:
    """Serve an exported network elsewhere: write what Triton or KServe needs, or run it on Ray Serve.

    On Ray it runs until Ctrl-C or SIGTERM, and needs the extra `ray`.
    """
    from export import deploy as write
    from export import run_on_ray

    for option, targets in _FOR.items():
        source = context.get_parameter_source(option)
        if target not in targets and source is not None and source.name == "COMMANDLINE":
            raise ValueError(
                f"Expected --{option.replace('_', '-')} for {' or '.join(targets)}. Received: --target {target}"
            )
    batching: dict[str, Any] = {"max_batch_size": max_batch_size, "max_delay": max_delay_ms / 1000, "queue": queue}
    if target is Target.ray:
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
    written = write(
        artifact, out, target=target.value, name=name, storage_uri=storage_uri, overwrite=overwrite, **batching
    )
    console.show_record("Deployment", {"written": written})
