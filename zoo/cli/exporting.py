"""From a trained network to a proven file: `export`, `verify`, `inspect`."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import console
from ..runs import Run, open_run
from ._app import Overwrite, app

Device = Annotated[
    str | None,
    typer.Option(help="cuda: fail where onnxruntime has no CUDA. cpu: leave CUDA out. Default: where it is."),
]


# Real test images beside the random inputs of the parity check.
PARITY_SAMPLES = 32


@app.command()
def export(
    model: Annotated[Path, typer.Argument(metavar="RUN_OR_MODEL", help="The folder of a run, or a .keras file.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the artifact. Default: RUN/export, or beside the file.")
    ] = None,
    formats: Annotated[str, typer.Option("--format", help="What to write: saved_model, onnx or both.")] = (
        "saved_model,onnx"
    ),
    opset: Annotated[int, typer.Option(help="Version of ONNX's operations, 13 to 18.")] = 17,
    layout: Annotated[
        str | None, typer.Option(help="Where images have their channels: nhwc or nchw. Default: as in the model.")
    ] = None,
    samples: Annotated[
        Path | None, typer.Option(help="Real inputs of a .keras file: an array in .npy, or by input in .npz.")
    ] = None,
    gates: Annotated[
        bool, typer.Option("--gates", help='Add an output "carry": how much each highway block carries on.')
    ] = False,
    device: Device = None,
    overwrite: Overwrite = False,
) -> None:
    """Export a network as SavedModel and ONNX, and prove that they agree.

    A run's network takes raw pixels and gives probabilities; a .keras file's takes and gives what the model does.
    """
    # SavedModels are TensorFlow's, whatever the network was trained on.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    is_run = (model / "run.json").is_file() or model.suffix != ".keras"
    opened = open_run(model) if is_run else None
    console.import_quietly("keras", "tensorflow")
    from export import export as make_artifact

    from ..loading import load

    surroundings = _surroundings(opened, layout) if opened else _read_samples(samples)
    network = load(model)
    artifact = make_artifact(
        network,
        out or (model / "export" if is_run else model.with_name(f"{model.stem}-export")),
        formats=[name.strip() for name in formats.split(",")],
        opset=opset,
        layout=layout,
        gates=gates,
        device=device,
        overwrite=overwrite,
        **surroundings,
    )
    if opened and artifact.path == opened.path / "export":
        from ..report import write_report

        write_report(opened, model=network)
    _show_parity(artifact.parity)
    found = {"ONNX": artifact.onnx, "SavedModel": artifact.saved_model}
    console.show_record(
        "Exported", {name: path for name, path in found.items() if path.exists()} | {"folder": artifact.path}
    )


def _surroundings(run: Run, layout: str | None) -> dict[str, Any]:
    """What a run knows of its network's inputs and outputs."""
    import numpy as np

    from export import Preprocessing

    from ..data import load_source

    images = load_source(run.source).test_images[:PARITY_SAMPLES]
    first = layout == "nchw"
    return {
        "preprocessing": Preprocessing("uint8", **run.source["preprocessing"], channel_axis=1 if first else -1),
        "activation": "softmax",
        "labels": run.source["class_names"],
        "samples": np.moveaxis(images, -1, 1) if first else images,
    }


def _read_samples(path: Path | None) -> dict[str, Any]:
    import numpy as np

    if path is None:
        return {}
    read = np.load(path, allow_pickle=False)
    return {"samples": read if isinstance(read, np.ndarray) else dict(read)}


@app.command()
def verify(artifact: Annotated[Path, typer.Argument(help="The folder of an artifact.")], device: Device = None) -> None:
    """Prove again that an artifact's files are whole and compute the same thing."""
    if find_spec("tensorflow"):
        console.import_quietly("tensorflow")
    from export import verify as check

    report = check(artifact, device=device)
    _show_parity(report)
    console.show_record("Verified", {"folder": artifact, "files with the right hash": report["files"]})


@app.command("inspect")
def inspect_(
    artifact: Annotated[Path, typer.Argument(help="The folder of an artifact, or an ONNX file.")],
    batch: Annotated[int, typer.Option(help="Examples in a run.")] = 1,
    size: Annotated[int, typer.Option(help="What to take for dynamic dimensions other than the batch.")] = 32,
    runs: Annotated[int, typer.Option(help="How many runs to measure.")] = 20,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Show what an exported network takes and gives, its operations, and the time of each under onnxruntime."""
    from export import inspect

    found = inspect(artifact, batch_size=batch, size=size, runs=runs, device=device)
    for title in ("inputs", "outputs"):
        tensors = [(t["name"], t["dtype"], ", ".join(str(n or "?") for n in t["shape"])) for t in found[title]]
        console.show_table(title.capitalize(), ("name", "type", "shape"), tensors)
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
            **{key: value[:60] for key, value in found["metadata"].items()},
        },
    )


def _show_parity(parity: dict[str, Any]) -> None:
    rows = [
        (
            pair["candidate"],
            pair["reference"],
            f"{pair['max_abs_diff']:.1e}",
            "-" if pair["argmax_agreement"] is None else f"{pair['argmax_agreement']:.2%}",
            pair["examples"],
        )
        for pair in parity["comparisons"]
        if pair["status"] == "compared"
    ]
    console.show_table("Parity", ("compared", "with", "max abs diff", "arg-max agreement", "examples"), rows)
