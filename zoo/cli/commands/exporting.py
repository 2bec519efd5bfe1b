"""The command that turns a trained network into a proven artifact: `export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zipfile import BadZipFile

from .. import console
from .._app import command
from .._checks import check_new, check_subject
from .._export_options import (
    FORMATS,
    Engine,
    Folder,
    Formats,
    ForRuntime,
    Gates,
    Layout,
    MaxAccuracyDrop,
    Model,
    Opset,
    Precision,
    Record,
    Samples,
    Targets,
    Weights,
)
from .._export_results import show_files, show_proof
from .._options import ExportDevice, Overwrite, Tta, Views
from .._weights import check_weights, default_folder

if TYPE_CHECKING:
    from ...training.runs import Run


@command()
def export(
    model: Model,
    out: Folder = None,
    weights: Weights = None,
    formats: Formats = None,
    target: Targets = None,
    opset: Opset = 17,
    for_runtime: ForRuntime = None,
    engine: Engine = None,
    precision: Precision = "fp32",
    max_accuracy_drop: MaxAccuracyDrop = 0.5,
    layout: Layout = None,
    samples: Samples = None,
    record: Record = "all",
    gates: Gates = False,
    tta: Tta = False,
    views: Views = None,
    device: ExportDevice = None,
    overwrite: Overwrite = False,
) -> None:
    """Export a network as SavedModel and ONNX, and prove they agree.

    An exported run takes raw inputs, such as pixels, and returns probabilities or the numbers of a regression. So does
    a network with --weights. An exported .keras file takes and returns what its model does. With KERAS_BACKEND
    the network runs on JAX or PyTorch, and the artifact has to give the same answers.
    """
    from export.convert.versions import choose_opset

    choose_opset(opset, for_runtime)
    targets = [name.strip() for name in target.split(",")] if target else []
    wanted = None if formats is None else [name.strip() for name in formats.split(",")]
    run = None
    if weights:
        check_weights(str(model), weights, wanted, precision)
    else:
        run = _check_model(model, wanted, precision, samples, layout)
    chosen = _check_views(run, tta, views, gates)
    ending = "export-tta" if chosen else "export"
    beside = default_folder(str(model), weights, ending) if weights else model.with_name(f"{model.stem}-{ending}")
    folder = out or (model / ending if run else beside)
    _check_target(folder, overwrite)
    if targets:
        from export.targets.proving import check_targets

        check_targets(targets, wanted or FORMATS, precision)
    given = _read_samples(samples)
    console.import_quietly("keras")
    from export import export as make_artifact

    from ...data import load_source
    from ...data.datasets import is_unnamed
    from ...training.exporting import options_of_run, options_of_weights
    from ...training.tta import tta_model
    from ...weights.info import load_as_described, weights_info
    from ...weights.loading import load

    source = load_source(run.source) if run and not is_unnamed(run.source["name"]) else None
    if weights:
        info = weights_info(str(model), weights)
        network, known = load_as_described(info), options_of_weights(info, layout, precision)
    else:
        network = load(model)
        known = options_of_run(run, source, layout, precision) if run else {"layout": layout, "precision": precision}
    with console.steps("export"):
        artifact = make_artifact(
            tta_model(network, chosen) if chosen else network,
            folder,
            formats=wanted,
            targets=targets,
            opset=opset,
            for_runtime=for_runtime,
            engine=engine,
            max_accuracy_drop=max_accuracy_drop,
            record=record,
            gates=gates,
            device=device,
            overwrite=overwrite,
            **known,
            **given,
        )
    show_proof(artifact.parity, targets)
    if run and source and artifact.path == run.path / "export" and not chosen:
        _update_report(run, source, network, artifact, layout, device)
    show_files(artifact, targets)


def _check_model(
    model: Path, formats: list[str] | None, precision: str, samples: Path | None, layout: str | None
) -> "Run | None":
    """Refuses options that do not go together and a missing model; returns the run, None for a .keras file."""
    from ...data.datasets import is_unnamed
    from ...tasks import task_of
    from ...training.runs import open_run
    from ...weights.loading import check_loadable

    is_run = (model / "run.json").is_file() or model.suffix != ".keras"
    run = open_run(model) if is_run else None
    if run and task_of(run.source).per_pixel and layout == "nchw":
        raise ValueError("Expected --layout nhwc for a segmentation, whose labels name the last axis. Received: nchw")
    quantised = precision.startswith("int")
    if run and quantised and (task_of(run.source).name != "classification" or is_unnamed(run.source["name"])):
        raise ValueError(
            f"Expected the run of a classification, on data with a name or a path, for --precision {precision}, which "
            f"is tested on them. Received: {model}, a {task_of(run.source).name} of {run.source['name']}"
        )
    if run and samples:
        raise ValueError(f"Expected --samples for a .keras file, not for a run. Received: --samples {samples}")
    if precision != "fp32" and formats not in (None, ["onnx"]):
        raise ValueError(f"Expected --format onnx for --precision {precision}. Received: --format {','.join(formats)}")
    if quantised and not run:
        raise ValueError(
            f"Expected the folder of a run for --precision {precision}, which is tested on its images. "
            f"Received: {model}; export.export(precision={precision!r}) takes images of your own"
        )
    if run and not is_unnamed(run.source["name"]):
        check_subject(model)
    else:
        check_loadable(run.path if run else model)
    return run


def _check_target(target: Path, overwrite: bool) -> None:
    """Raises an error unless an artifact may be written there."""
    check_new(target, overwrite=overwrite)
    if target.exists() and not (target / "artifact.json").is_file():
        raise FileExistsError(f"Expected an artifact to overwrite. Received: {str(target)!r}, which holds none")


def _check_views(run: "Run | None", tta: bool, views: str | None, gates: bool) -> str | None:
    """The views over which the exported network averages; None if it sees an image once."""
    from ...training.tta import resolve_views

    if not (tta or views):
        return None
    if gates:
        raise ValueError("Expected --gates without --tta, since each view has its own gates. Received: both")
    return resolve_views(views or tta, run.recipe.augment if run else None)


def _update_report(
    run: "Run", source: Any, network: Any, artifact: Any, layout: str | None, device: Literal["cpu", "cuda"] | None
) -> None:
    """Measures the speed of a run's export, and writes the report of the run again."""
    from ...analysis import speed
    from ...reports.page import write_report

    speed.forget(run.path)
    if artifact.onnx.exists():
        _measure_speed(run, source, network, artifact.path, layout, device)
    write_report(run, source, network)


def _measure_speed(
    run: "Run", source: Any, network: Any, artifact: Path, layout: str | None, device: Literal["cpu", "cuda"] | None
) -> None:
    """Times a run's network and its ONNX file in turns, shows the times and keeps them with the run."""
    import numpy as np

    from export import load as load_artifact

    from ...analysis import speed
    from ...data import Preprocessing

    predictor = load_artifact(artifact, device=device or "cpu")

    def exported(images: np.ndarray) -> Any:
        return predictor(np.moveaxis(images, -1, 1) if layout == "nchw" else images)

    preprocessing = Preprocessing.from_dict(run.source["preprocessing"])
    images = np.asarray(source.test_inputs[: max(speed.BATCHES)])
    measured = speed.measure(network, preprocessing, exported, images)
    speed.write(run.path, measured)
    rows = [row.as_row() for row in measured]
    console.show_table("Speed", tuple(rows[0]), [tuple(row.values()) for row in rows])


def _read_samples(path: Path | None) -> dict[str, Any]:
    """Inputs in a file, as `export.export` takes them."""
    import numpy as np

    if path is None:
        return {}
    if path.suffix not in (".npy", ".npz") or not path.is_file():
        absent = "" if path.exists() else ", which does not exist"
        raise ValueError(f"Expected samples in a file that ends in .npy or .npz. Received: --samples {path}{absent}")
    try:
        read = np.load(path, allow_pickle=False)
        return {"samples": read if isinstance(read, np.ndarray) else dict(read)}
    except (BadZipFile, EOFError, ValueError) as error:
        raise ValueError(f"Expected an array in .npy, or several in .npz. Received: {path} ({error})") from error
