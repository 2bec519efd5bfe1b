"""The command line, `keras-skip`. Keras is imported by the commands that need it, so that the others answer at once."""

import os
import sys
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from . import console, listing
from .environment import set_again
from .recipes import RECIPES, get_recipe
from .registry import MODELS, list_models
from .runs import Run, TrainingError, list_runs, open_run
from .settings import setting

app = typer.Typer(
    help="Networks with skip connections: train them, export them, prove the export.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]
Device = Annotated[
    str | None,
    typer.Option(help="cuda: fail where onnxruntime has no CUDA. cpu: leave CUDA out. Default: where it is."),
]
TrainDevice = Annotated[
    str | None, typer.Option(metavar="auto|cpu|gpu", help="gpu: fail where there is none. Default: auto.")
]
Count = Annotated[int | None, typer.Option(help="How many devices share each batch. Default: 1.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Data = Annotated[
    str | None,
    typer.Option(help="Name of a data source, or a folder, archive or .npz of images. Default: the recipe's."),
]
ImageSize = Annotated[
    str | None, typer.Option(metavar="PIXELS", help="Resize images to a square, or to HEIGHTxWIDTH such as 48x64.")
]
OnBadImage = Annotated[str, typer.Option(metavar="error|skip", help="What to do with images that cannot be read.")]

# Real test images beside the random inputs of the parity check.
PARITY_SAMPLES = 32


class Format(StrEnum):
    """How `list` writes its table."""

    table = "table"
    markdown = "markdown"


@app.command("list")
def list_(
    pattern: Annotated[str | None, typer.Argument(help='Shell pattern, such as "*mlp".')] = None,
    format: Annotated[Format, typer.Option(help="A table, or a page with more columns.")] = Format.table,
) -> None:
    """List the networks: sizes, errors in the papers, recipes."""
    matching = list_models(pattern)
    if not matching:
        raise ValueError(f"Expected a pattern that matches one of {', '.join(list_models())}. Received: {pattern!r}")
    names = [name for name in MODELS if name in matching]
    if format is Format.markdown:
        print(listing.page(names), end="")
    else:
        console.show_table("Networks", listing.COLUMNS, listing.rows(names))


@app.command()
def describe(name: Annotated[str, typer.Argument(help="A network or a recipe.")]) -> None:
    """Show a network's paper and figures, or a recipe's settings."""
    if name in RECIPES:
        console.show_record(name, get_recipe(name).as_dict())
        return
    if name in MODELS:
        console.import_quietly("keras", "tensorflow")
    from .registry import describe as described

    card = described(name)
    console.show_record(
        name,
        {
            "what it is": card.summary,
            "paper": card.paper,
            "error in the paper": card.paper_error,
            "measured here": "; ".join(f"{recipe}: {result}" for recipe, result in card.measured.items()),
            "depth": card.depth,
            "input": f"{listing.size(card.input_shape)}, {card.classes} classes",
            "parameters": f"{card.parameters:,} trainable, {card.non_trainable:,} others",
            "multiply-adds": f"{card.multiply_adds:,} for one image, in convolutions and dense layers",
            "recipes": ", ".join(card.recipes),
            "weights": ", ".join(card.weights),
            "arguments": ", ".join(f"{key}={value!r}" for key, value in card.arguments.items()),
        },
    )


@app.command()
def train(
    recipe: Annotated[str | None, typer.Argument(help="The recipe; `keras-skip list` shows them.")] = None,
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run. Default: runs/RECIPE.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Length of the run.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order, augmentation and dropout.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting, such as optimizer.lr=0.2; repeatable."),
    ] = None,
    image_size: ImageSize = None,
    on_bad_image: OnBadImage = "error",
    validation: Annotated[
        float | None, typer.Option(metavar="FRACTION", help="Hold out part of the training images to measure on.")
    ] = None,
    checkpoint_minutes: Annotated[
        float | None, typer.Option(help="How often to save within an epoch. Default: 10.")
    ] = None,
    checkpoint_steps: Annotated[int | None, typer.Option(help="The same, in steps.")] = None,
    device: TrainDevice = None,
    devices: Count = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with a run that was stopped, in place of RECIPE.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Train a network; everything about the run goes into its folder. Ctrl-C stops it with a checkpoint."""
    overrides: dict[str, Any] = dict(map(setting, settings or ()))
    overrides |= {name: value for name, value in (("epochs", epochs), ("seed", seed)) if value is not None}
    options: dict[str, Any] = {"out": out, "checkpoint_minutes": checkpoint_minutes}
    options |= {"checkpoint_steps": checkpoint_steps, "overwrite": overwrite or None}
    given = {name: value for name, value in options.items() if value is not None}
    if resume is not None:
        if recipe or data or validation or overrides or given:
            raise ValueError(
                "Expected --resume with no other options than --device and --devices. "
                f"Received: --resume {resume} with a recipe or other options"
            )
        _resume(resume, device, devices)
        return
    if recipe is None:
        raise ValueError("Expected a recipe, or --resume RUN. Received: neither")
    chosen = get_recipe(recipe).changed(overrides)
    console.import_quietly("keras", find_devices=False)
    from .data import load_source
    from .devices import select
    from .training import train as run_training

    with console.quietly():
        selected = select(device or "auto", 1 if devices is None else devices)
    selected.check(chosen.batch_size)
    with console.reading() as progress:
        source = load_source(
            data or chosen.source, image_size=sides(image_size), on_bad_image=on_bad_image, progress=progress
        )
    if validation is not None:
        source = source.with_validation(validation, seed=chosen.seed)
    shown = console.progress_bar(chosen.epochs, len(source.train_labels), chosen.batch_size, selected)
    with console.interruptible(), shown as callbacks:
        run = run_training(recipe, source, **given, callbacks=callbacks, devices=selected, **overrides)
    if selected.hosts.writes:
        _show_run(run)


def sides(text: str | None) -> tuple[int, int] | None:
    """Height and width from "HEIGHTxWIDTH", or from the one number of a square."""
    if text is None:
        return None
    height, _, width = text.partition("x")
    try:
        return int(height), int(width or height)
    except ValueError:
        raise ValueError(f"Expected an image size such as 64 or 48x64. Received: {text!r}") from None


def _resume(folder: Path, device: str | None, devices: int | None) -> None:
    opened = open_run(folder)
    if opened.status == "complete":
        _show_run(opened)
        return
    set_again(opened.record["environment"])
    console.import_quietly("keras", find_devices=False)
    from .devices import as_recorded
    from .training import resume

    with console.quietly():
        selected = as_recorded(opened.record.get("devices"), device, devices)
    examples, recipe = opened.source["examples"]["train"], opened.recipe
    shown = console.progress_bar(recipe.epochs, examples, recipe.batch_size, selected)
    with console.interruptible(), shown as callbacks:
        run = resume(folder, callbacks=callbacks, devices=selected)
    if selected.hosts.writes:
        _show_run(run)


@app.command()
def runs(folder: Annotated[Path, typer.Argument(help="Where the folders of the runs are.")] = Path("runs")) -> None:
    """List the runs in a folder: what they train, how far they are, what they reach."""
    found = list_runs(folder)
    if not found:
        raise ValueError(f"Expected a folder with runs. Received: {str(folder)!r}")
    rows = []
    for run in found:
        accuracy = run.results.get("test_accuracy")
        result = run.record.get("reason", "") if accuracy is None else f"test accuracy {accuracy:.2%}"
        epochs = f"{run.epochs_done}/{run.recipe.epochs}"
        rows.append((run.path, run.status_now, run.recipe.network, run.source["name"], epochs, result))
    console.show_table("Runs", ("run", "status", "network", "data", "epochs", "result"), rows)


@app.command()
def evaluate(
    run_or_network: Annotated[
        str, typer.Argument(metavar="RUN_OR_NETWORK", help="The folder of a run, or with --weights a network.")
    ],
    weights: Annotated[
        str | None, typer.Option(help="Weights that come with the package; `keras-skip results` lists them.")
    ] = None,
    data: Data = None,
) -> None:
    """Measure a run's network, or weights that come with the package, on test images."""
    what: Any = open_run(run_or_network) if weights is None else run_or_network
    console.import_quietly("keras")
    from .evaluation import evaluate as measure

    figures = measure(what, data, weights=weights)
    console.show_record(
        run_or_network if weights is None else f"{run_or_network}, {weights}",
        {
            "test images": figures["examples"],
            "test accuracy": f"{figures['accuracy']:.2%}",
            "test loss": f"{figures['loss']:.4f}",
        },
    )


@app.command()
def compare(
    networks: Annotated[
        list[str],
        typer.Argument(metavar="NETWORK...", help="Such as plain_mlp, or plain_mlp:depth=30,activation=tanh."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the runs, the table and the figure.")] = Path("runs/comparison"),
    recipe: Annotated[
        str | None, typer.Option(help="How each is trained. Default: the first of the first network's.")
    ] = None,
    data: Data = None,
    seeds: Annotated[int, typer.Option(help="How many trainings of each, from seed 0 on.")] = 3,
    epochs: Annotated[int | None, typer.Option(help="Length of each run.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting of the recipe; repeatable."),
    ] = None,
) -> None:
    """Train several networks under one budget, and draw how they learn. What was stopped goes on."""
    overrides: dict[str, Any] = dict(map(setting, settings or ()))
    overrides |= {} if epochs is None else {"epochs": epochs}
    console.import_quietly("keras")
    from contextlib import ExitStack

    from . import comparison
    from .devices import select

    with console.interruptible(), ExitStack() as shown:

        def bar(name: str, one: Any, source: Any) -> Any:
            print(name, file=sys.stderr, flush=True)
            examples = len(source.train_labels)
            return shown.enter_context(console.progress_bar(one.epochs, examples, one.batch_size, select()))

        runs = comparison.compare(networks, out, data, recipe=recipe, seeds=seeds, callbacks=bar, **overrides)
    columns = ("network", "parameters", "test accuracy", "over the seeds", "training accuracy")
    console.show_table("Comparison", columns, comparison.summary(runs))
    console.show_record("Written", {"figure": out / "comparison.svg", "table": out / "comparison.csv"})


@app.command()
def gradients(
    networks: Annotated[list[str], typer.Argument(metavar="NETWORK_OR_RUN...", help="Networks, folders of runs.")],
    data: Annotated[str, typer.Option(help="Name of a data source, or a folder, archive or .npz.")] = "digits",
    out: Annotated[Path, typer.Option(help="The figure: .svg, .png or .pdf; the CSV comes beside it.")] = Path(
        "gradients.svg"
    ),
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="An argument of the networks, such as depth=30; repeatable."),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images that the gradient is measured on.")] = 256,
    seed: Annotated[int, typer.Option(help="Of the weights of new networks.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Draw how far the gradient reaches: its norm at each layer, of new networks or of trained ones."""
    from . import charts

    charts.check_format(out)
    table = out.with_suffix(".csv")
    for path in (out, table):
        if path.exists() and not overwrite:
            raise FileExistsError(f"Expected no such file yet. Received: {str(path)!r}; or ask to overwrite it")
    console.import_quietly("keras")
    from .data import load_source
    from .gradients import compare, write

    norms = compare(networks, load_source(data), batch_size, seed, dict(map(setting, settings or ())))
    out.parent.mkdir(parents=True, exist_ok=True)
    write(table, norms)
    charts.save(charts.gradient_flow(norms), out)
    rows = []
    for name in dict.fromkeys(norm.network for norm in norms):
        first, *_, last = [norm.norm for norm in norms if norm.network == name]
        rows.append((name, f"{first:.2e}", f"{last:.2e}", f"{first / last:.1e}"))
    console.show_table("Gradients", ("network", "at the first layer", "at the last", "ratio"), rows)
    console.show_record("Written", {"figure": out, "table": table})


@app.command()
def publish(
    run: RunFolder,
    name: Annotated[str, typer.Argument(help="What the weights are called, such as cifar10.")],
    out: Annotated[Path, typer.Option(help="Folder for the weights and their card.")] = Path("."),
    data: Data = None,
    limits: Annotated[str, typer.Option(help="What to know before the figures are compared with others.")] = "",
    chosen_by: Annotated[str, typer.Option(help="How this run was chosen among others.")] = "the only run",
    overwrite: Overwrite = False,
) -> None:
    """Write a run's weights, and a card with what they reach under Keras and onnxruntime.

    A run that is not exported yet is exported first.
    """
    opened = open_run(run)
    artifact = opened.path / "export"
    if opened.status == "complete" and not artifact.exists():
        export(run)
    console.import_quietly("keras")
    from .publishing import publish as write

    card = write(opened, name, out, data, limits=limits, chosen_by=chosen_by, overwrite=overwrite)
    console.show_record(
        "Published",
        {
            "weights": out / card.file,
            "test accuracy": f"{card.test_accuracy:.2%}",
            "under onnxruntime": f"{card.onnx_accuracy:.2%}",
            "training accuracy": f"{card.train_accuracy:.2%}",
            "SHA-256": card.sha256,
        },
    )


class Table(StrEnum):
    """How `results` writes its table."""

    table = "table"
    markdown = "markdown"
    csv = "csv"


@app.command("results")
def results_(
    format: Annotated[Table, typer.Option(help="A table, a page, or comma-separated values.")] = Table.table,
) -> None:
    """Show what the weights of the package reach, beside what the papers report."""
    from . import results

    if format is Table.table:
        console.show_table("Results", *results.short())
    else:
        print(results.page() if format is Table.markdown else results.csv_text(), end="")


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

    from .loading import load

    surroundings = _surroundings(opened, layout) if opened else _read_samples(samples)
    artifact = make_artifact(
        load(model),
        out or (model / "export" if is_run else model.with_name(f"{model.stem}-export")),
        formats=[name.strip() for name in formats.split(",")],
        opset=opset,
        layout=layout,
        device=device,
        overwrite=overwrite,
        **surroundings,
    )
    _show_parity(artifact.parity)
    found = {"ONNX": artifact.onnx, "SavedModel": artifact.saved_model}
    console.show_record(
        "Exported", {name: path for name, path in found.items() if path.exists()} | {"folder": artifact.path}
    )


def _surroundings(run: Run, layout: str | None) -> dict[str, Any]:
    """What a run knows of its network's inputs and outputs."""
    import numpy as np

    from export import Preprocessing

    from .data import load_source

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


def _show_run(run: Run) -> None:
    results = run.results
    console.show_record(
        "Trained",
        {
            "test accuracy": f"{results['test_accuracy']:.2%}",
            "network": f"{run.recipe.network}, {results['parameters']:,} parameters",
            "time": f"{results['seconds']:.0f} s, {results['images_per_second']:.0f} images/s",
            "run": run.path,
            "model": run.model_path,
            "report": run.path / "report.html",
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


def main() -> None:
    """Runs the command line; what the user can mend is one sentence on standard error, and exit code 1."""
    try:
        app()
    except (ValueError, OSError, TrainingError) as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
