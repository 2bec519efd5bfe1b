"""Checks that run before Keras is loaded, and the writer of a figure with its table."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any


def check_subject(
    run_or_network: str | Path, weights: str | None = None, data: str | None = None, **reading: Any
) -> None:
    """Refuses a run, weights and data that do not exist, and options for reading tables that do not fit these."""
    from ..data.sources import check_source
    from ..training.runs import open_run
    from ..weights.cards import card
    from ..weights.loading import check_loadable

    like = None
    if weights is None:
        source: Any = open_run(run_or_network).source
        like = source
        check_loadable(Path(run_or_network))
    else:
        source = card(str(run_or_network), weights).data["name"]
    if data is None and reading:
        given = " and ".join(f"--{name.replace('_', '-')}" for name in reading)
        raise ValueError(f"Expected {given} only with --data. Received: no data")
    check_source(source if data is None else data, like=None if data is None else like, **reading)


def check_new(*paths: Path, overwrite: bool) -> None:
    """Refuses paths that exist and may not be replaced."""
    for path in paths:
        if path.exists() and not overwrite:
            raise FileExistsError(f"{str(path)!r} exists. Choose another path, or replace it with --overwrite")


def check_figure(figure: Path, *others: Path, overwrite: bool) -> None:
    """Refuses a figure of an unknown format, and files that exist: the figure, its table, and others."""
    from ..analysis import charts

    charts.check_format(figure)
    check_new(figure, figure.with_suffix(".csv"), *others, overwrite=overwrite)


def write_figure(path: Path, drawn: Any, rows: Iterable[Any], kind: Any) -> dict[str, Path]:
    """Writes a figure and a table of the named tuples that it shows; returns the paths of both."""
    from .._files import write_csv
    from ..analysis import charts

    table = path.with_suffix(".csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(table, rows, kind)
    charts.save(drawn, path)
    return {"figure": path, "table": table}
