"""Compares networks under one budget: the same recipe, data and seeds, so that only the network differs.

OUT/
  plain_mlp-0/, plain_mlp-1/, ...    a run for each network and seed
  comparison.csv                     a row for each network, seed and epoch
  comparison.svg                     figure and loss by epoch: the mean over the seeds, and their range
"""

import csv
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .._files import replace_file
from ..data import Source, load_source
from ..data.sources import check_source
from ..networks.registry import entry_of
from ..tasks import task_of
from ..tasks.task import Figure
from .folder import refuse_existing
from .recipe import Recipe, parse_setting
from .recipes import get_recipe, recipes_of
from .request import Request
from .runs import Run, open_run

if TYPE_CHECKING:
    import keras

    from ..data.datasets import Data

# Between settings, not within a tuple.
_SETTINGS = re.compile(r",(?=\s*\w+=)")


@dataclass(frozen=True)
class Candidate:
    """A network with arguments, written as "resnet20" or "plain_mlp:depth=30,activation=tanh"."""

    text: str
    network: str
    arguments: dict[str, Any]

    @classmethod
    def parse(cls, text: str) -> "Candidate":
        """Parses a network with arguments.

        Raises:
            ValueError: If there is no such network, or an argument has no value.
        """
        network, _, settings = text.partition(":")
        entry_of(network)
        return cls(text, network, dict(map(parse_setting, _SETTINGS.split(settings) if settings else ())))

    def run_name(self, seed: int) -> str:
        return re.sub(r"[^\w.=-]+", "-", self.text) + f"-{seed}"

    def recipe(self, shared: Recipe, seed: int, source: Source) -> Recipe:
        """Puts this network and a seed into the shared recipe."""
        arguments = {**shared.arguments, **self.arguments}
        return shared.changed({"network": self.network, "arguments": arguments, "seed": seed, "source": source.name})


def compare(
    networks: Sequence[str],
    out: str | Path,
    data: "Source | Data | None" = None,
    *,
    recipe: str | Recipe | None = None,
    seeds: int = 3,
    callbacks: Callable[[str, Recipe, Source], "Sequence[keras.callbacks.Callback]"] | None = None,
    verbose: bool = True,
    **overrides: Any,
) -> dict[str, list[Run]]:
    """Trains each network with each seed, then writes the table and the figure.

    Complete runs in the folder are not trained again, and interrupted ones are resumed.

    Args:
        networks: Such as "plain_mlp" or, with arguments of the builder, "plain_mlp:depth=30".
        out: The folder.
        data: As in `train`.
        recipe: Trains each network. Default: the first recipe of the first network, for these data if there is one.
        seeds: How many seeds, counted from 0.
        callbacks: Makes more Keras callbacks for a run from its name, recipe and data.
        verbose: Whether to show on standard error which run is trained, and how far it is, as in `train`.
        **overrides: Settings of the recipe, as in `train`.

    Returns:
        The runs of each network.

    Raises:
        ValueError: If a name or setting is unknown, a network cannot be built for these data, or the folder holds
            another run. All of this is checked before anything is trained.

    Example:

    >>> import zoo
    >>> runs = zoo.compare(["plain_mlp:depth=30", "highway_mlp:depth=30"], "runs/deep")  # doctest: +SKIP
    """
    from .loop import build_network

    if data is not None and not isinstance(data, (str, Source)):
        data = str(data) if isinstance(data, Path) else load_source(data)
    candidates, chosen = plan(networks, out, data, recipe, seeds, overrides)
    named = chosen.source if data is None else data
    source = data if isinstance(data, Source) else _request(chosen, data).load(named)
    folder = Path(out)
    planned = [
        (candidate, folder / candidate.run_name(seed), candidate.recipe(chosen, seed, source))
        for candidate in candidates
        for seed in range(seeds)
    ]
    # Check all of them before the first is trained.
    for _, path, one in planned:
        _check_folder(path, one, source)
    for candidate in candidates:
        build_network(candidate.recipe(chosen, 0, source), source)
    runs: dict[str, list[Run]] = {}
    for candidate, path, one in planned:
        if verbose:
            print(path.name, file=sys.stderr, flush=True)
        options = {"callbacks": callbacks(path.name, one, source) if callbacks else (), "verbose": verbose}
        runs.setdefault(candidate.text, []).append(_train_or_resume(path, one, source, options))
    write_table(folder / "comparison.csv", runs)
    from ..analysis import charts

    charts.save(charts.comparison(rows(runs), ranking(runs)), folder / "comparison.svg")
    return runs


def plan(
    networks: Sequence[str],
    out: str | Path,
    data: str | Source | None,
    recipe: str | Recipe | None,
    seeds: int,
    overrides: Mapping[str, Any],
) -> tuple[list[Candidate], Recipe]:
    """Parses the candidates and their recipe; raises the errors that need no data and no network."""
    candidates = [Candidate.parse(text) for text in networks]
    if len({candidate.text for candidate in candidates}) < len(candidates) or not candidates:
        raise ValueError(f"Expected different networks, at least one. Received: {', '.join(networks) or 'none'}")
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
        raise ValueError(f"Expected seeds to be a whole number of at least 1. Received: seeds={seeds!r}")
    if Path(out).exists() and not Path(out).is_dir():
        raise ValueError(f"Expected a folder for the runs. Received: {str(out)!r}")
    if own := [f"{name}={overrides[name]!r}" for name in ("network", "seed") if name in overrides]:
        raise ValueError(
            f"Expected settings other than network and seed, which compare sets here. Received: {', '.join(own)}"
        )
    chosen = (_default_recipe(candidates[0].network, data) if recipe is None else get_recipe(recipe)).changed(overrides)
    if not isinstance(data, Source):
        named = chosen.source if data is None else data
        check_source(named, **_request(chosen, data).reading(named, {}))
    return candidates, chosen


def _request(recipe: Recipe, data: str | None) -> Request:
    """The request for one of the training runs, which knows how its data are read."""
    return Request(recipe, overrides={} if data is None else {"source": str(data)})


def rows(runs: dict[str, list[Run]]) -> list[dict[str, str | int | float]]:
    """Reads the histories into a row for each network, seed and epoch."""
    found: list[dict[str, str | int | float]] = []
    for network, members in runs.items():
        for run in members:
            with (run.path / "history.csv").open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    figures = {name: float(value) for name, value in row.items() if value}
                    found.append({"network": network, "seed": run.recipe.seed, **figures, "epoch": int(row["epoch"])})
    return found


def summary(runs: dict[str, list[Run]]) -> list[tuple[str, ...]]:
    """Summarises each network: parameters, mean and range of the test figure over the seeds, training figure."""
    table: list[tuple[str, ...]] = []
    figure = ranking(runs)
    for network, members in runs.items():
        tested, trained = ([run.results[f"{part}_{figure.name}"] for run in members] for part in ("test", "train"))
        spread = f"{figure.text(min(tested))} to {figure.text(max(tested))}"
        means = (figure.text(statistics.mean(values)) for values in (tested, trained))
        table.append((network, f"{members[0].results['parameters']:,}", next(means), spread, next(means)))
    return table


def ranking(runs: dict[str, list[Run]]) -> Figure:
    """The figure that ranks the runs, which all have one task."""
    return task_of(next(iter(runs.values()))[0].source).figures[0]


class Errors(NamedTuple):
    """The errors of one run in %, on the training images without augmentation and on the test images."""

    network: str
    depth: int
    seed: int
    training: float
    test: float


def errors_by_depth(runs: dict[str, list[Run]]) -> list[Errors]:
    """Lists the errors of runs whose recipes all name a depth."""
    return [
        Errors(
            run.recipe.network.rstrip("0123456789"),
            run.recipe.arguments["depth"],
            run.recipe.seed,
            *(round(100 - 100 * run.results[f"{part}_accuracy"], 4) for part in ("train", "test")),
        )
        for members in runs.values()
        for run in members
    ]


def write_table(path: Path, runs: dict[str, list[Run]]) -> None:
    """Writes `rows` as comma-separated values."""
    found = rows(runs)
    # An epoch that was not evaluated has fewer figures.
    columns = max(found, key=len)
    with replace_file(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        writer.writerows(found)


def _default_recipe(network: str, data: str | Source | None) -> Recipe:
    known = recipes_of(network)
    if not known:
        raise ValueError(f"Expected a recipe, because {network} has none of its own. Received: recipe=None")
    name = data.name if isinstance(data, Source) else data
    return next((recipe for recipe in known if recipe.source == name), known[0])


def _check_folder(path: Path, recipe: Recipe, source: Source) -> None:
    """Checks that a folder is empty or holds the run that belongs there."""
    if not (path / "run.json").is_file():
        refuse_existing(path, overwrite=False)
        return
    there = open_run(path)
    ours, theirs = recipe.as_dict(), there.recipe.as_dict()
    # A measured precision takes the place of "auto".
    theirs["precision"] = there.record.get("precision", {}).get("asked", theirs["precision"])
    different = [name for name in ours if ours[name] != theirs[name]]
    if different or there.source["fingerprint"] != source.fingerprint:
        raise ValueError(
            f"Expected a run of this comparison in {str(path)!r}. "
            f"Received: a run that differs in {', '.join(different) or 'its data'}"
        )


def _train_or_resume(path: Path, recipe: Recipe, source: Source, options: Mapping[str, Any]) -> Run:
    from .train import resume, train

    if (path / "run.json").is_file():
        return resume(path, source, **options)
    return train(recipe, source, path, **options)
