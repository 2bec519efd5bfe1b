"""The report of a run: one HTML file that opens from disk, needs no internet, and has a light and a dark theme.

It shows run.json, history.csv, the predictions for the test examples, the gradients from gradients.csv or measured now,
the gates of a highway network, and the parity and speed of an export.
"""

import csv
import html
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._files import replace_file
from ...data import Preprocessing, Source
from ...tasks import Task, task_of
from ...training.command import clear_inherited_figures, command
from ...training.runs import Run, open_run
from . import _classes, _masks, _numbers
from ._artifact import parity, speed
from ._curves import curves
from ._inside import gates as gates_section
from ._inside import gradients as gradients_section
from ._tables import grid, record, tiles

if TYPE_CHECKING:
    import keras

    from ...analysis.gating import Gates
    from ...analysis.gradients import Norm

GRADIENTS = "gradients.csv"
# The sections on the predictions for the test inputs, by task.
ANSWERS = {"classification": _classes.show, "regression": _numbers.show, "segmentation": _masks.show}


def write_report(run: Run | str | Path, data: Source | None = None, model: "keras.Model | None" = None) -> Path:
    """Writes report.html into the folder of a complete run. After an export, call it again to add parity and speed.

    Args:
        run: A run or its folder.
        data: The `Source` that the run was trained on, if `load_source` cannot find it by its name.
        model: The network of the run, if it is loaded already.

    Returns:
        The path of the file.

    Raises:
        ValueError: If there is no such run, if it is not complete, or if its data are missing.

    Example:

    >>> import zoo
    >>> zoo.write_report("runs/demo")  # doctest: +SKIP
    PosixPath('runs/demo/report.html')
    """
    from ...analysis.gating import highway_layers, measure_gates
    from ...data.batches import raise_failures
    from ...training.evaluation import evaluation_batches, resolve_data
    from ...training.learner import jit_compile
    from ...weights.loading import load

    opened = open_run(run)
    if "test_loss" not in opened.results:
        raise ValueError(f"Expected a complete run. Received: {str(opened.path)!r}, which is {opened.status}")
    source, preprocessing = resolve_data(opened, data)
    model = load(opened.path) if model is None else model
    predictor = task_of(source).predictor(model)
    predictor.compile(jit_compile=jit_compile())
    batches = evaluation_batches(source, preprocessing)
    with raise_failures(batches):
        predictions = predictor.predict(batches, verbose=0)
    gated = source.task == "classification" and highway_layers(model)
    gates = measure_gates(model, source, preprocessing) if gated else None
    return write_page(opened, predictions, source, _norms(opened, model, source, preprocessing), gates)


def write_page(
    run: Run, predictions: np.ndarray, source: Source, norms: "Sequence[Norm]" = (), gates: "Gates | None" = None
) -> Path:
    """Writes report.html from measured figures.

    Args:
        run: The run, with its results.
        predictions: For `source.test_inputs`: logits (examples, classes), numbers (examples, targets), or masks of the
            predicted classes (examples, height, width).
        source: The data that the run was measured on.
        norms: The norms of its gradients, at one step or several.
        gates: The gates of a highway network.

    Returns:
        The path of the file.

    Raises:
        ValueError: If the predictions are not one for each test example.
    """
    task = task_of(source)
    shape = source.test_targets.shape if task.per_pixel else (len(source.test_inputs), source.outputs)
    if predictions.shape != shape:
        raise ValueError(f"Expected predictions of shape {shape}. Received: {predictions.shape}")
    rows = _history(run.path / "history.csv")
    recipe = clear_inherited_figures(run.recipe)
    page = Template(files(__package__).joinpath("page.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(f"{recipe.network} on {source.name}"),
        summary=_summary(run, recipe.paper, task),
        curves=curves(rows, task),
        answers=ANSWERS[task.name](predictions, source) if task.name in ANSWERS else "",
        gradients=f"<h2>Gradients</h2>{gradients_section(norms)}" if norms else "",
        gates=f"<h2>Gates</h2>{gates_section(gates)}" if gates else "",
        parity=parity(run.path / "export"),
        speed=speed(run.path),
        command=html.escape(command(run.record)),
        recipe=record(recipe.as_dict()),
        history=grid(rows),
        origin=record({"data": source.name} | {name: run.record[name] for name in _origin(run.record)}),
    )
    path = run.path / "report.html"
    with replace_file(path) as beside:
        beside.write_text(page, encoding="utf-8")
    return path


def _norms(run: Run, model: "keras.Model", source: Source, preprocessing: Preprocessing) -> "list[Norm]":
    """Reads the norms that were recorded in the training, or measures those of the trained network."""
    from ...analysis.gradients import GradientProbe, probe_batches, read

    recorded = run.path / GRADIENTS
    if recorded.is_file() and (found := read(recorded)):
        return found
    batches = probe_batches(source, preprocessing, run.recipe.seed)
    step = run.recipe.epochs * -(-len(source.train_inputs) // run.recipe.batch_size)
    try:
        probe = GradientProbe(model, once=True, loss=task_of(source).loss(source, kind=run.recipe.loss))
    except NotImplementedError:  # a model of the user's that cannot be copied
        return []
    return probe.measure(*batches.batch(0, 0), step)


def _origin(run_record: Mapping[str, Any]) -> Iterable[str]:
    names = ("started", "revision", "devices", "process", "environment", "versions")
    return (name for name in names if name in run_record)


def _history(path: Path) -> list[dict[str, float]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def _summary(run: Run, paper: str, task: Task) -> str:
    results, first = run.results, task.figures[0]
    errors = [("test error", f"{1 - results['test_accuracy']:.2%}")] if first.name == "accuracy" else []
    return tiles(
        [
            *((f"test {figure.title}", figure.text(results[f"test_{figure.name}"])) for figure in task.figures),
            *errors,
            ("error in the paper", paper),
            (f"training {first.title}", first.text(results[f"train_{first.name}"])),
            ("parameters", f"{results['parameters']:,}"),
            ("training time", f"{results['seconds'] / 60:.1f} min"),
            ("examples per second", f"{results['images_per_second']:,.0f}"),
        ]
    )
