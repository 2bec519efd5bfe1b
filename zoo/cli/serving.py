"""From a proven file to answers: `serve` and `deploy`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .. import console
from ._app import Overwrite, app


@app.command()
def serve(
    artifacts: Annotated[
        list[str], typer.Argument(metavar="ARTIFACT...", help="Folders of artifacts; NAME=FOLDER gives one a name.")
    ],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 takes a free one.")] = 8000,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    max_batch_size: Annotated[int, typer.Option(help="Examples in one run, and so in one request.")] = 32,
    max_delay_ms: Annotated[float, typer.Option(help="How long a request may wait for others to be run with.")] = 2,
    queue: Annotated[int, typer.Option(help="Requests of a model that may wait; others are refused.")] = 256,
    max_body: Annotated[int, typer.Option(help="Bytes of a request.")] = 16 * 2**20,
    timeout: Annotated[int, typer.Option(help="Seconds in which a request must have arrived.")] = 30,
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


@app.command()
def deploy(
    artifact: Annotated[Path, typer.Argument(help="The folder of an artifact.")],
    target: Annotated[Target, typer.Option(help="A model repository for Triton, or a manifest for KServe.")],
    out: Annotated[Path, typer.Option(help="The model repository, or the folder of the manifest.")] = Path("models"),
    name: Annotated[str | None, typer.Option(help="What clients call it. Default: the artifact's own name.")] = None,
    storage_uri: Annotated[
        str | None, typer.Option(help="For kserve: where the cluster finds the model repository.")
    ] = None,
    max_batch_size: Annotated[int, typer.Option(help="For triton: examples in one run.")] = 32,
    max_delay_ms: Annotated[float, typer.Option(help="For triton: how long a request may wait for others.")] = 2,
    queue: Annotated[int, typer.Option(help="For triton: requests that may wait.")] = 256,
    overwrite: Overwrite = False,
) -> None:
    """Write what Triton or KServe needs to serve an exported network."""
    from export import deploy as write

    written = write(
        artifact,
        out,
        target=target.value,
        name=name,
        storage_uri=storage_uri,
        max_batch_size=max_batch_size,
        max_delay=max_delay_ms / 1000,
        queue=queue,
        overwrite=overwrite,
    )
    console.show_record("Deployment", {"written": written})
