"""The commands that check an artifact: `verify` and `inspect`."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from .. import _completion, console
from .._app import command
from .._export_results import show_parity
from .._options import Artifact, ServingDevice, VerifiedDevice, number

# Characters on a terminal of a text that a file holds: a SHA-256 is as long.
LONGEST_SHOWN = 64

ArtifactOrFile = Annotated[
    Path,
    typer.Argument(
        metavar="ARTIFACT", autocompletion=_completion.artifacts, help="The folder of an artifact, or an ONNX file."
    ),
]
Batch = Annotated[int, number("--batch", "-b", help="Examples in one run.")]
Size = Annotated[int, number(help="The size of dynamic dimensions other than the batch.")]
Runs = Annotated[int, number("--runs", "-n", help="How many runs to measure, after two to warm up.")]


@command()
def verify(artifact: Artifact, device: VerifiedDevice = None) -> None:
    """Prove again that an artifact's files are whole and agree."""
    from export import verify as check

    if (artifact / "saved_model").is_dir() and find_spec("tensorflow"):
        console.import_quietly("tensorflow")

    report = check(artifact, device=device)
    show_parity(report)
    batching = {"batches": report["not_batched"]} if report["not_batched"] else {}
    console.show_record("Verified", {"folder": artifact, "files that match their hash": report["files"], **batching})


@command("inspect")
def inspect_(
    artifact: ArtifactOrFile,
    batch: Batch = 1,
    size: Size = 32,
    runs: Runs = 20,
    device: ServingDevice = "cpu",
) -> None:
    """Show an export's inputs, outputs, operations, and their times."""
    from export import inspect

    found = inspect(artifact, batch_size=batch, size=size, runs=runs, device=device)
    for title in ("inputs", "outputs"):
        tensors = [(t["name"], t["dtype"], ", ".join(str(n or "?") for n in t["shape"])) for t in found[title]]
        console.show_table(title.capitalize(), ("name", "type", "shape"), tensors)
    shorten = _shorten if sys.stdout.isatty() else str
    if found["columns"]:
        columns = [(c["name"], c["kind"], shorten(", ".join(c["values"]))) for c in found["columns"]]
        console.show_table("Columns of a row", ("column", "kind", "values"), columns)
    in_file = {o["name"]: o["count"] for o in found["operations"]}
    measured = {k["name"]: k for k in found["kernels"]}
    none = {"count": 0, "microseconds": 0.0, "share": 0.0}
    rows = [
        (name, in_file.get(name, 0), k["count"], f"{k['microseconds']:.1f}", f"{k['share']:.1%}")
        for name, k in (measured | {name: none for name in in_file if name not in measured}).items()
    ]
    console.show_table("Operations", ("operation", "in the file", "as run", "microseconds", "share"), rows)
    shapes = ", ".join("x".join(map(str, shape)) for shape in found["batch"].values())
    versions = ", ".join(f"{domain} {version}" for domain, version in found["opset"].items())
    console.show_record(
        "Inspected",
        {
            "file": found["file"],
            "size": f"{found['bytes']:,} bytes",
            "opset": f"{versions}; IR version {found['ir_version']}",
            "one run": f"{found['milliseconds']:.3f} ms on {shapes}, {device}",
            **{key: shorten(value) for key, value in found["metadata"].items()},
        },
    )


def _shorten(text: str) -> str:
    """The text if it is no longer than a hash, or else its beginning and a sign that there is more."""
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 4]} ..."
