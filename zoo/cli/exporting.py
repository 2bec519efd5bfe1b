"""From a trained network to a proven file: `export`, `verify`, `inspect`."""

import os
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any
from zipfile import BadZipFile

import typer

from ..training.runs import Run, open_run
from ..weights.loading import check_loadable, load
from . import console
from ._app import Overwrite, app, check_subject

Device = Annotated[
    str | None,
    typer.Option(help="cuda: fail if onnxruntime has no CUDA. cpu: leave CUDA out. Default: use CUDA if there is any."),
]


# Real test images beside the random inputs of the parity check, and training images to calibrate int8 on.
PARITY_SAMPLES, CALIBRATION_IMAGES = 32, 512
# Of a text that a file holds: a SHA-256 is as long.
LONGEST_SHOWN = 64


class Precision(StrEnum):
    """How finely an exported network computes."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


@app.command()
def export(
    model: Annotated[Path, typer.Argument(metavar="RUN_OR_MODEL", help="The folder of a run, or a .keras file.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the artifact. Default: RUN/export, or beside the file.")
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="What to write: saved_model, onnx, or both with a comma. Default: both; in fp16 and int8, onnx.",
        ),
    ] = None,
    opset: Annotated[int, typer.Option(help="Version of ONNX's operations, 13 to 18.")] = 17,
    precision: Annotated[
        Precision,
        typer.Option(help="fp16 is for GPUs; int8 needs a run, and is written only if it is faster on this machine."),
    ] = Precision.fp32,
    max_accuracy_drop: Annotated[
        float, typer.Option(help="How many points of accuracy on the test images int8 may cost.")
    ] = 0.5,
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
    if opened and samples:
        raise ValueError(f"Expected --samples for a .keras file, not for a run. Received: --samples {samples}")
    if precision is Precision.int8 and not opened:
        raise ValueError(
            "Expected the folder of a run for --precision int8, which is calibrated and tested on its images. "
            f"Received: {model}; export.export(precision='int8') takes images of your own"
        )
    if opened:
        check_subject(model)
    else:
        check_loadable(model)
    target = out or (model / "export" if is_run else model.with_name(f"{model.stem}-export"))
    if target.exists() and not overwrite:
        raise FileExistsError(f"Expected a new folder. Received: {str(target)!r}, which is there; ask to overwrite it")
    given = _read_samples(samples)
    console.import_quietly("keras", "tensorflow")
    from export import export as make_artifact

    from ..data import load_source

    source = load_source(opened.source) if opened else None
    surroundings = _surroundings(opened, source, layout, precision) if opened else given
    network = load(model)
    artifact = make_artifact(
        network,
        target,
        formats=None if formats is None else [name.strip() for name in formats.split(",")],
        opset=opset,
        precision=precision.value,
        max_accuracy_drop=max_accuracy_drop,
        layout=layout,
        gates=gates,
        device=device,
        overwrite=overwrite,
        **surroundings,
    )
    _show_parity(artifact.parity)
    _show_precision(artifact.parity["precision"])
    if opened and artifact.path == opened.path / "export":
        from ..analysis import speed
        from ..reports.page import write_report

        speed.forget(opened.path)
        if artifact.onnx.exists():
            _measure_speed(opened, source, network, artifact.path, layout, device)
        write_report(opened, source, network)
    found = {"ONNX": artifact.onnx, "SavedModel": artifact.saved_model}
    console.show_record(
        "Exported", {name: path for name, path in found.items() if path.exists()} | {"folder": artifact.path}
    )


def _surroundings(run: Run, source: Any, layout: str | None, precision: Precision) -> dict[str, Any]:
    """What a run knows of its network's inputs and outputs."""
    import numpy as np

    from export import Preprocessing

    from ..data.layout import interleave_classes

    first = layout == "nchw"

    def laid_out(images: np.ndarray) -> np.ndarray:
        return np.moveaxis(images, -1, 1) if first else images

    known = {
        "preprocessing": Preprocessing("uint8", **run.source["preprocessing"], channel_axis=1 if first else -1),
        "activation": "softmax",
        "labels": run.source["class_names"],
        "samples": laid_out(source.test_images[interleave_classes(np.asarray(source.test_labels), PARITY_SAMPLES)]),
    }
    if precision is Precision.int8:
        places = np.linspace(0, len(source.train_images) - 1, CALIBRATION_IMAGES).astype(int)
        known["calibration"] = laid_out(source.train_images[np.unique(places)])
        known["test"] = laid_out(np.asarray(source.test_images)), np.asarray(source.test_labels)
    return known


def _measure_speed(run: Run, source: Any, network: Any, artifact: Path, layout: str | None, device: str | None) -> None:
    """Times a run's network beside its export, where that has an ONNX file, shows it and keeps it with the run."""
    import numpy as np

    from export import load as load_artifact

    from ..analysis import speed
    from ..data import Preprocessing

    predictor = load_artifact(artifact, device=device or "cpu")

    def exported(images: np.ndarray) -> Any:
        return predictor(np.moveaxis(images, -1, 1) if layout == "nchw" else images)

    preprocessing = Preprocessing.from_dict(run.source["preprocessing"])
    images = np.asarray(source.test_images[: max(speed.BATCHES)])
    measured = speed.measure(network, preprocessing, exported, images)
    speed.write(run.path, measured)
    told = [row.as_row() for row in measured]
    console.show_table("Speed", tuple(told[0]), [tuple(row.values()) for row in told])


def _read_samples(path: Path | None) -> dict[str, Any]:
    """Inputs in a file, as `export.export` takes them."""
    import numpy as np

    if path is None:
        return {}
    if path.suffix not in (".npy", ".npz") or not path.is_file():
        raise ValueError(f"Expected samples in a file that ends in .npy or .npz. Received: --samples {path}")
    try:
        read = np.load(path, allow_pickle=False)
        return {"samples": read if isinstance(read, np.ndarray) else dict(read)}
    except (BadZipFile, EOFError, ValueError) as error:
        raise ValueError(f"Expected an array in .npy, or several in .npz. Received: {path} ({error})") from error


@app.command()
def verify(artifact: Annotated[Path, typer.Argument(help="The folder of an artifact.")], device: Device = None) -> None:
    """Prove again that an artifact's files are whole and compute the same thing."""
    from export import verify as check

    if (artifact / "saved_model").is_dir() and find_spec("tensorflow"):
        console.import_quietly("tensorflow")

    report = check(artifact, device=device)
    _show_parity(report)
    batching = {"batches": report["not_batched"]} if report["not_batched"] else {}
    console.show_record("Verified", {"folder": artifact, "files with the right hash": report["files"], **batching})


@app.command("inspect")
def inspect_(
    artifact: Annotated[Path, typer.Argument(help="The folder of an artifact, or an ONNX file.")],
    batch: Annotated[int, typer.Option(help="Examples in a run.")] = 1,
    size: Annotated[int, typer.Option(help="What to take for dynamic dimensions other than the batch.")] = 32,
    runs: Annotated[int, typer.Option(help="How many runs to measure, after two to warm up.")] = 20,
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
            **{key: _shortened(value) for key, value in found["metadata"].items()},
        },
    )


def _shortened(text: str) -> str:
    """The text, whole where it is no longer than a hash, and else with a sign that there is more."""
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 4]} ..."


def _show_precision(found: dict[str, Any]) -> None:
    """What a narrower precision costs and saves."""
    shown = {"precision": found["name"]}
    if "bytes" in found:
        shown["size"] = " instead of ".join(f"{found['bytes'][name]:,}" for name in (found["name"], "fp32")) + " bytes"
    if "float32_layers" in found:
        shown["layers in float32"] = f"{found['float32_layers']} of {found['layers']}"
    if "accuracy" in found:
        accuracy = found["accuracy"]
        shown["accuracy"] = f"{accuracy['int8']:.2%} instead of {accuracy['fp32']:.2%}, {accuracy['examples']} images"
    for raced in found.get("latency", ()):
        times = f"{raced['int8_ms']:.3g} instead of {raced['fp32_ms']:.3g} ms"
        shown[f"batch of {raced['batch']}"] = f"{times}, {raced['speedup']:.2f} times as fast"
    for layer in found.get("worst_layers", ())[:1]:
        shown["most is lost in"] = f"{layer['tensor']}, {layer['signal_to_noise_db']:.1f} dB"
    if len(shown) > 1:
        console.show_record("Precision", shown)


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
    if weak := parity.get("weak"):
        console.show_record("Weak proof", weak)
