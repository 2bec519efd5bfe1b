"""Completes networks, recipes and runs for the Tab key, without Keras. Typer drops those that begin differently."""

from pathlib import Path


def networks() -> list[str]:
    from ..networks.catalogue import MODELS

    return list(MODELS)


def tasks() -> list[str]:
    from ..networks.family import TASKS

    return list(TASKS)


def recipes() -> list[str]:
    from ..training.recipes import RECIPES

    return list(RECIPES)


def networks_and_recipes() -> list[str]:
    return networks() + recipes()


def runs(incomplete: str) -> list[str]:
    """The runs in the folder that is typed, or else in `runs`."""
    folder = incomplete.rpartition("/")[0] if "/" in incomplete else "runs"
    return sorted(record.parent.as_posix() for record in Path(folder).glob("*/run.json"))


def networks_and_runs(incomplete: str) -> list[str]:
    return networks() + runs(incomplete)


def artifacts(incomplete: str) -> list[str]:
    """The exports of the runs in the folder that is typed, or in `runs`."""
    exports = [f"{run}/export" for run in dict.fromkeys(runs("") + runs(incomplete))]
    return [path for path in exports if Path(path, "artifact.json").is_file()]


def runs_and_artifacts(incomplete: str) -> list[str]:
    return runs(incomplete) + artifacts(incomplete)


def cached() -> list[str]:
    from ..data.cached import list_cached

    return [found.path.name for found in list_cached() if found.complete]
