"""Writes the command line that repeats a run, and clears the figures a changed recipe has inherited."""

import ast
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .choice import choose_recipe
from .recipe import SETTINGS, Recipe
from .recipes import RECIPES

# The settings of a recipe that have an option of their own, and those that describe it and do not change how it trains.
_OPTIONS = ("epochs", "seed", "weights", "freeze", "unfreeze_after", "keep", "patience", "class_weight", "precision")
_ABOUT = ("command", "paper", "cost", "result")


def command(record: Mapping[str, Any], full_paths: bool = True) -> str:
    """Writes the command line that trains a run again.

    Args:
        record: The contents of run.json.
        full_paths: Whether to write the path of the data on this machine, or only its name.

    Returns:
        The line, quoted for a shell.
    """
    recipe = Recipe.from_dict(record["recipe"])
    words, base = _base(recipe, record, full_paths)
    for name, value in _differences(recipe, base).items():
        if name == "source":
            words += ["--data", value if full_paths else Path(value).name]
        elif name in _OPTIONS and value is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
        else:
            words += ["--set", f"{name}={_literal(value)}"]
    return shlex.join(words + _options(record))


def clear_inherited_figures(recipe: Recipe) -> Recipe:
    """Clears the command, cost and results that a changed recipe has inherited from another one.

    A recipe that differs only in its seed keeps them. The paper's error stays if network and data are the paper's.
    """
    if any(replace(recipe, seed=known.seed) == known for known in RECIPES.values()):
        return recipe
    others: dict[str, Any] = {
        name: "" for name in _ABOUT if getattr(recipe, name) in {getattr(r, name) for r in RECIPES.values()}
    }
    if any((r.network, r.source, r.paper) == (recipe.network, recipe.source, recipe.paper) for r in RECIPES.values()):
        others.pop("paper", None)
    return replace(recipe, **others)


def _base(recipe: Recipe, record: Mapping[str, Any], full_paths: bool) -> tuple[list[str], Recipe]:
    """How the command begins, and the recipe that this alone would train."""
    start, model, facts = ["keras-skip", "train"], record.get("model"), record.get("chosen_by")
    if facts is not None:
        base = choose_recipe(recipe.network, facts, recipe.weights, own=model is not None)
        start += [] if model else [recipe.network]
        # Neither is part of what the name of a network means.
        base = replace(base, source="", weights=None)
    else:
        base = RECIPES.get(recipe.name) or min(RECIPES.values(), key=lambda known: len(_differences(recipe, known)))
        start += [base.name]
        if model:
            base = replace(base, network=recipe.network, arguments={})
    file = (model or {}).get("file")
    return start + ([] if file is None else ["--model", file if full_paths else Path(file).name]), base


def _differences(recipe: Recipe, base: Recipe) -> dict[str, Any]:
    """Finds the settings that differ from a base recipe, by dotted name."""
    found: dict[str, Any] = {}
    for name in SETTINGS:
        part, _, inner = name.partition(".")
        ours, theirs = (getattr(one, part) for one in (recipe, base))
        if inner and getattr(ours, inner) != getattr(theirs, inner):
            found[name] = getattr(ours, inner)
        elif name == "arguments" and ours.keys() >= theirs.keys():
            found |= {f"arguments.{key}": ours[key] for key in ours if key not in theirs or ours[key] != theirs[key]}
        elif not inner and not hasattr(ours, "__dataclass_fields__") and ours != theirs:
            found[name] = ours
    return {name: value for name, value in found.items() if name not in ("name", *_ABOUT)}


def _options(record: Mapping[str, Any]) -> list[str]:
    """Writes the options for reading and splitting the data, for gradients and for devices."""
    source, devices = record.get("source", {}), record.get("devices", {})
    reading = source.get("options", {})
    given: dict[str, Any] = {
        "image-size": reading.get("image_size") and "x".join(map(str, reading["image_size"])),
        # Runs from before there was a choice stretched their images.
        "resize": reading.get("resize", "stretch") if reading.get("image_size") else "crop",
        "shorter": reading.get("shorter"),
        "on-bad-image": reading.get("on_bad_image", "error"),
        "validation": source.get("validation", {}).get("fraction"),
        "gradients": record.get("gradients"),
    }
    if devices.get("count", 1) > 1 and devices.get("processes", 1) == 1:
        given |= {"device": devices["kind"], "devices": devices["count"]}
    height, _, width = str(given["image-size"]).partition("x")
    if height == width:
        given["image-size"] = height
    usual = (None, "crop", "error")
    words = [word for name, value in given.items() if value not in usual for word in (f"--{name}", str(value))]
    return words + ["--stream"] * bool(reading.get("stream")) + _options_of_tables(reading)


def _options_of_tables(reading: Mapping[str, Any]) -> list[str]:
    target = reading.get("target")
    target = target if target is None or isinstance(target, str) else ",".join(target)
    given = [("target", target), ("task", reading.get("task")), ("split-column", reading.get("split_column"))]
    given += [("column", f"{name}={kind}") for name, kind in reading.get("columns", {}).items()]
    return [word for name, value in given if value is not None for word in (f"--{name}", value)]


def _literal(value: Any) -> str:
    """Writes a value as `--set` reads it, and quotes text only if it would be read as something else."""
    if not isinstance(value, str):
        return repr(value)
    try:
        ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    return repr(value)
