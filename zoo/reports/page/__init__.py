"""The report of a run: one HTML file that opens from disk, needs no internet, and has a light and a dark theme.

It shows run.json, history.csv, the predictions for the test images, the gradients from gradients.csv or measured now,
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
from ...training.command import clear_inherited_figures, command
from ...training.runs import Run, open_run
from ._answers import confusions, mistakes
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
    import keras

    from ...analysis.gating import highway_layers, measure_gates
    from ...training.evaluation import evaluation_batches, resolve_data
    from ...training.learner import jit_compile
    from ...weights.loading import load

    opened = open_run(run)
    if "test_accuracy" not in opened.results:
        raise ValueError(f"Expected a complete run. Received: {str(opened.path)!r}, which is {opened.status}")
    source, preprocessing = resolve_data(opened, data)
    model = load(opened.path) if model is None else model
    predictor = keras.Model(model.inputs, model.outputs)
    predictor.compile(jit_compile=jit_compile())
    logits = predictor.predict(evaluation_batches(source, preprocessing), verbose=0)
    gates = measure_gates(model, source, preprocessing) if highway_layers(model) else None
    return write_page(opened, logits, source, _norms(opened, model, source, preprocessing), gates)


def write_page(
    run: Run, logits: np.ndarray, source: Source, norms: "Sequence[Norm]" = (), gates: "Gates | None" = None
) -> Path:
    """Writes report.html from measured figures.

    Args:
        run: The run, with its results.
        logits: The predictions for `source.test_inputs`, (examples, classes).
        source: The data that the run was measured on.
        norms: The norms of its gradients, at one step or several.
        gates: The gates of a highway network.

    Returns:
        The path of the file.

    Raises:
        ValueError: If the logits are not one row for each test image.
    """
    if logits.shape != (len(source.test_inputs), source.classes):
        raise ValueError(
            f"Expected logits of shape {(len(source.test_inputs), source.classes)}. Received: {logits.shape}"
        )
    rows = _history(run.path / "history.csv")
    recipe = clear_inherited_figures(run.recipe)
    page = Template(files(__package__).joinpath("page.html").read_text()).substitute(
        title=html.escape(f"{recipe.network} on {source.name}"),
        summary=_summary(run, recipe.paper),
        curves=curves(rows),
        confusions=confusions(logits.argmax(axis=1), source),
        mistakes=mistakes(logits, source),
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
        beside.write_text(page)
    return path


def _norms(run: Run, model: "keras.Model", source: Source, preprocessing: Preprocessing) -> "list[Norm]":
    """Reads the norms that were recorded in the training, or measures those of the trained network."""
    from ...analysis.gradients import GradientProbe, probe_batches, read

    recorded = run.path / GRADIENTS
    if recorded.is_file() and (found := read(recorded)):
        return found
    batches = probe_batches(source, preprocessing, run.recipe.seed)
    step = run.recipe.epochs * -(-len(source.train_inputs) // run.recipe.batch_size)
    return GradientProbe(model, once=True).measure(*batches.batch(0, 0), step)


def _origin(run_record: Mapping[str, Any]) -> Iterable[str]:
    names = ("started", "revision", "devices", "process", "environment", "versions")
    return (name for name in names if name in run_record)


def _history(path: Path) -> list[dict[str, float]]:
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def _summary(run: Run, paper: str) -> str:
    results = run.results
    return tiles(
        [
            ("test accuracy", f"{results['test_accuracy']:.2%}"),
            ("test error", f"{1 - results['test_accuracy']:.2%}"),
            ("error in the paper", paper),
            ("training accuracy", f"{results['train_accuracy']:.2%}"),
            ("parameters", f"{results['parameters']:,}"),
            ("training time", f"{results['seconds'] / 60:.1f} min"),
            ("images per second", f"{results['images_per_second']:,.0f}"),
        ]
    )
