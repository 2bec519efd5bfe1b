"""What the Tab key offers: networks, recipes and runs, without Keras."""

from pathlib import Path


def networks(incomplete: str) -> list[str]:
    from ..networks.catalogue import MODELS

    return [name for name in MODELS if name.startswith(incomplete)]


def recipes(incomplete: str) -> list[str]:
    from ..training.recipes import RECIPES

    return [name for name in RECIPES if name.startswith(incomplete)]


def networks_and_recipes(incomplete: str) -> list[str]:
    return networks(incomplete) + recipes(incomplete)


def runs(incomplete: str) -> list[str]:
    """The runs in the folder that is typed, or else in `runs`."""
    folder = incomplete.rpartition("/")[0] if "/" in incomplete else "runs"
    found = sorted(record.parent.as_posix() for record in Path(folder).glob("*/run.json"))
    return [run for run in found if run.startswith(incomplete)]


def networks_and_runs(incomplete: str) -> list[str]:
    return networks(incomplete) + runs(incomplete)


def artifacts(incomplete: str) -> list[str]:
    """The exports of the runs in `runs`, or in the folder that is typed."""
    exports = [f"{run}/export" for run in dict.fromkeys(runs("") + runs(incomplete))]
    return [path for path in exports if path.startswith(incomplete) and Path(path, "artifact.json").is_file()]


def cached(incomplete: str) -> list[str]:
    from ..data.cached import list_cached

    names = (found.path.name for found in list_cached() if found.complete)
    return [name for name in names if name.startswith(incomplete)]
