"""Finds the class and the part of the data that a file belongs to, from its folders.

    train/CLASS/...  and  test/CLASS/...     with val/, valid/ or validation/ next to them, or instead of test/
    CLASS/...                                split at random, each class alike

Everything may lie in one more folder.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .options import Options

PARTS = {"train": "train", "test": "test", "val": "validation", "valid": "validation", "validation": "validation"}


@dataclass(frozen=True)
class Layout:
    """The class names, and for each part the indices of its images in the order of their names, with their labels."""

    class_names: tuple[str, ...]
    parts: dict[str, tuple[np.ndarray, np.ndarray]]


def find_layout(where: str, names: Sequence[str], folders: Iterable[str], options: "Options") -> Layout:
    """Finds the layout of image files.

    Raises:
        ValueError: If images lie outside class folders, a class is empty, or training and test have other classes.
    """
    paths = [PurePosixPath(name).parts for name in names]
    holders = {folder: number for number, folder in enumerate(dict.fromkeys(path[:-1] for path in paths))}
    holder_of = np.array([holders[path[:-1]] for path in paths], int)
    order = np.array(sorted(range(len(names)), key=lambda index: names[index]), int)
    found = layout_of_folders(
        where, list(holders), holder_of[order], folders, options, lambda place: names[order[place]]
    )
    parts = {part: (order[places], labels) for part, (places, labels) in found.parts.items()}
    return Layout(found.class_names, parts)


def layout_of_folders(
    where: str,
    holders: Sequence[tuple[str, ...]],
    holder_of: np.ndarray,
    folders: Iterable[str],
    options: "Options",
    name_of: Callable[[int], str],
) -> Layout:
    """Finds the layout of many image files from the few folders that hold them.

    Args:
        where: What is read, for errors.
        holders: The folders, each as the names on the way to it.
        holder_of: For each image the number of its folder.
        folders: The paths of all folders.
        options: How to split images that belong to no part.
        name_of: The name of an image, for errors.

    Raises:
        ValueError: As `find_layout`.
    """
    if not len(holder_of):
        raise ValueError(f"Expected images in class folders. Received: {where!r}, without any image")
    depth = common_depth(holders)
    inner = [holder[depth:] for holder in holders]
    split = all(path and path[0].lower() in PARTS for path in inner)
    _refuse_outside(where, inner, split, holder_of, name_of)
    level = 1 if split else 0
    for deep in range(depth + 1, depth + level + 2):
        _refuse_empty(where, holders, folders, deep)
    class_names = sort_classes({path[level] for path in inner})
    number = {name: index for index, name in enumerate(class_names)}
    labels = np.array([number[path[level]] for path in inner])[holder_of]
    parts = _group(where, np.array([_known(path[0]) if split else "" for path in inner]), holder_of)
    for part in ("validation", "test"):
        if part in parts:
            _refuse_other_classes(where, class_names, part, labels[parts["train"]], labels[parts[part]])
    if "test" not in parts:
        whole = parts["train"]
        parts = options.split(whole, partial(choose_stratified, labels[whole], class_names=class_names))
    return Layout(class_names, {part: (indices, labels[indices]) for part, indices in parts.items()})


def _refuse_outside(
    where: str, inner: list[tuple[str, ...]], split: bool, holder_of: np.ndarray, name_of: Callable[[int], str]
) -> None:
    """Refuses class folders next to train/, and images outside class folders."""
    if not split and any(len(path) > 1 and path[0].lower() == "train" for path in inner):
        others = {path[0] if path else name_of(_first(holder_of, number)) for number, path in enumerate(inner)}
        listed = sorted(other for other in others if other.lower() not in PARTS)
        raise ValueError(
            f"Expected only train/, test/ and validation/ in {where!r}, or only class folders. "
            f"Received: train and {', '.join(listed[:5])}"
        )
    outside = np.flatnonzero(np.array([len(path) < split + 1 for path in inner])[holder_of])
    if len(outside):
        raise ValueError(
            f"Expected every image of {where!r} in a class folder. "
            f"Received: {len(outside)} outside of them, such as {name_of(int(outside[0]))!r}"
        )


def group_parts(where: str, part_of: Sequence[str]) -> dict[str, np.ndarray]:
    """Groups examples by the part that each belongs to, "" if that is not known.

    Returns:
        The places of the examples of "train" and, if they are known, "validation" and "test". Examples of no part are
        for training, and those for validation are for testing if there are no others.

    Raises:
        ValueError: If there are parts, but none for training, or examples of no part.
    """
    return _group(where, np.array([_known(part) for part in part_of]), np.arange(len(part_of)))


def _group(where: str, known: np.ndarray, holder_of: np.ndarray) -> dict[str, np.ndarray]:
    """Groups examples by the parts of what holds them."""
    names = [part for part in ("train", "validation", "test", "") if part in known]
    found = {part: np.flatnonzero((known == part)[holder_of]) for part in names}
    if set(found) == {""}:
        return {"train": found[""]}
    if "train" not in found:
        raise ValueError(f"Expected a part train in {where!r}. Received: only {', '.join(sorted(found))}")
    if "" in found:
        raise ValueError(f"Expected a part for each example of {where!r}. Received: none for {len(found[''])} of them")
    if "test" not in found and "validation" in found:
        found["test"] = found.pop("validation")
    return found


def _known(part: str) -> str:
    return PARTS.get(part.lower(), "")


def _first(holder_of: np.ndarray, number: int) -> int:
    return int(np.flatnonzero(holder_of == number)[0])


def choose_stratified(labels: np.ndarray, fraction: float, seed: int, class_names: Sequence[str]) -> np.ndarray:
    """Chooses the same fraction of each class, at least one example and never all, as a boolean array.

    Raises:
        ValueError: If the fraction is not between 0 and 1, or a class has fewer than two examples.
    """
    _check_fraction(fraction)
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        indices = rng.permutation(np.flatnonzero(labels == label))
        if len(indices) < 2:
            raise ValueError(
                f"Expected at least two examples of each class to split. Received: one of {class_names[label]!r}"
            )
        chosen[indices[: min(max(round(fraction * len(indices)), 1), len(indices) - 1)]] = True
    return chosen


def choose_at_random(count: int, fraction: float, seed: int) -> np.ndarray:
    """Chooses a fraction of the examples, at least one and never all, as a boolean array.

    Raises:
        ValueError: If the fraction is not between 0 and 1, or there are fewer than two examples.
    """
    _check_fraction(fraction)
    if count < 2:
        raise ValueError(f"Expected at least two examples to split. Received: {count}")
    chosen = np.zeros(count, bool)
    chosen[np.random.default_rng(seed).permutation(count)[: min(max(round(fraction * count), 1), count - 1)]] = True
    return chosen


def _check_fraction(fraction: float) -> None:
    if not 0 < fraction < 1:
        raise ValueError(f"Expected a fraction between 0 and 1 to split off. Received: {fraction!r}")


def interleave_classes(labels: np.ndarray, count: int) -> np.ndarray:
    """Returns the indices of `count` examples: the first of each class, then the second of each."""
    by_class = np.argsort(labels, kind="stable")
    _, starts, sizes = np.unique(labels[by_class], return_index=True, return_counts=True)
    turn = np.arange(len(labels)) - np.repeat(starts, sizes)
    return by_class[np.argsort(turn, kind="stable")[:count]]


def common_depth(holders: Sequence[tuple[str, ...]]) -> int:
    """Counts the outer folders that hold everything else, before the class folders or train."""
    depth = 0
    while (
        all(len(path) > depth + 1 for path in holders)
        and len({path[depth] for path in holders}) == 1
        and holders[0][depth].lower() not in PARTS
    ):
        depth += 1
    return depth


def _refuse_empty(where: str, holders: Sequence[tuple[str, ...]], folders: Iterable[str], depth: int) -> None:
    full = {path[:depth] for path in holders}
    found = {PurePosixPath(folder).parts for folder in folders}
    empty = sorted("/".join(path) for path in found if len(path) == depth and path not in full)
    if empty:
        raise ValueError(
            f"Expected images in every class folder of {where!r}. Received: none in {', '.join(empty[:5])}"
        )


def _refuse_other_classes(
    where: str, class_names: tuple[str, ...], part: str, train: np.ndarray, other: np.ndarray
) -> None:
    differences = [
        f"{missing} without {', '.join(class_names[label] for label in sorted(labels)[:5])}"
        for missing, labels in (("train", set(other) - set(train)), (part, set(train) - set(other)))
        if labels
    ]
    if differences:
        raise ValueError(
            f"Expected the same classes in train and {part} of {where!r}. Received: {'; '.join(differences)}"
        )


def sort_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Sorts by number if all are numbers, so that the class "10" comes after "9"."""
    listed = sorted(names)
    return tuple(sorted(listed, key=int) if all(name.isdecimal() for name in listed) else listed)
