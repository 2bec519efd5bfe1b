"""Makes a data source for segmentation from a folder of images, with a mask of the same name for each.

    images/NAME.jpg and masks/NAME.png                  a random part is for testing
    train/images/, train/masks/, test/images/, ...      also images/train/, masks/train/, ...

A mask has the size of its image, and each of its pixels has the index of a class as its value, grey or from a palette.
255 marks pixels that do not count, but if the masks contain only 0 and 255, then 255 is the second class. classes.txt
names the classes, one per line. Masks that are read like those of a record have its classes, and its meaning of 255.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from export.archives import Entry, file_state, read_entries
from export.images import FORMATS, SUFFIXES, BadImage, ImageReader

from ..tasks import task_of
from ..tasks.segmentation import IGNORE
from . import cache
from .decoding import Decoded, DecodedImages, decode, hash_of, to_pixels, warn_of_skipped
from .layout import PARTS, choose_at_random, group_parts
from .options import Options, Progress
from .rows import select_rows
from .source import Preprocessing, Source

CLASS_NAMES = "classes.txt"
_BITS_LOST = ("JPEG", "WEBP")  # formats that may change the values


@dataclass(frozen=True)
class _Pair:
    """An image with its mask; one of them may be missing."""

    key: tuple[str, ...]
    image: Entry | None
    mask: Entry | None

    @property
    def entry(self) -> Entry:
        return self.image or self.mask  # type: ignore[return-value]


def has_masks(path: Path) -> bool:
    """Whether a folder, or one or two levels below it another, has the folders images and masks."""
    return path.is_dir() and any(
        folder.is_dir() and (folder.parent / "masks").is_dir()
        for way in ("images", "*/images", "*/*/images")
        for folder in path.glob(way)
    )


def from_masks(
    path: Path,
    options: Options,
    cache_in: Path | None,
    progress: Progress | None,
    like: Mapping[str, Any] | None = None,
) -> Source:
    """Makes a source of the images and masks in a folder.

    Args:
        path: The folder.
        options: How to read it.
        cache_in: The folder of the cache; None keeps images and masks in memory.
        progress: Called with how many files are read and how many there are.
        like: The record of a source, whose classes other masks have too. Default: they are inferred.

    Raises:
        ValueError: If an image or a mask is missing or damaged, unless it may be skipped; or if values have no class.
    """
    known = like if like and options.whole and task_of(like).name == "segmentation" else {}
    named = _class_names(path)
    names = named or list(known.get("class_names", ()))
    named_by = CLASS_NAMES if named or not known else "the record"
    second_is_255 = known.get("second_is_255")

    def read(stacks: list[cache.ImageStack]) -> cache.Contents:
        return _read(path, _reader(names, options, named_by), names, second_is_255, options, stacks, progress)

    facts = {"state": file_state(path), "options": options.as_dict(), "masks": [names, second_is_255]}
    found = cache.through(cache_in, path, facts, ("images", "masks"), read)
    warn_of_skipped(path, found.about["skipped"])
    arrays: dict[str, Any] = {}
    for part, (indices, _) in found.parts.items():
        arrays[f"{part}_inputs"] = select_rows(found.arrays["images"], indices)
        arrays[f"{part}_targets"] = select_rows(found.arrays["masks"][..., 0], indices)
    return Source(
        name=str(path),
        task="segmentation",
        class_names=tuple(found.about["class_names"]),
        preprocessing=Preprocessing.from_dict(found.about["preprocessing"]),
        origin={
            "content": found.about["content"],
            "skipped": len(found.about["skipped"]),
            "second_is_255": found.about["second_is_255"],
            **({"whole": True} if options.whole else {}),
        },
        **arrays,
    )


def _class_names(path: Path) -> list[str]:
    file = path / CLASS_NAMES
    names = [line.strip() for line in file.read_text("utf-8-sig").splitlines()] if file.is_file() else []
    while names and not names[-1]:
        names.pop()
    if "" in names or len(set(names)) < len(names) or len(names) > IGNORE:
        raise ValueError(
            f"Expected at most {IGNORE} names in {str(file)!r}, each in a line of its own and once. Received: {names}"
        )
    return names


def _read(
    path: Path,
    reader: Callable[[_Pair], tuple[Decoded, Decoded] | str],
    names: list[str],
    second_is_255: bool | None,
    options: Options,
    stacks: list[cache.ImageStack],
    progress: Progress | None,
) -> cache.Contents:
    images, masks = (DecodedImages(path, stack, options) for stack in stacks)
    values: dict[int, str] = {}
    keys = []
    pairs = _find_pairs(path)
    for pair, decoded in decode(pairs, reader, progress, lambda pair: pair.entry):
        if isinstance(decoded, str):
            images.bad.append(f"{pair.entry.name} ({decoded})")
            continue
        assert pair.image is not None and pair.mask is not None
        image, mask = decoded
        images.add(pair.image.name, image)
        masks.add(pair.mask.name, mask)
        keys.append(pair.key)
        for value in np.unique(mask[0]).tolist():
            values.setdefault(value, pair.mask.name)
    if not pairs:
        raise ValueError(f"Expected images in the folders images and masks of {str(path)!r}. Received: none")
    images.refuse_bad()
    if second_is_255 is None:
        second_is_255 = set(values) == {0, IGNORE}
    second_is_255 = second_is_255 and set(values) <= {0, IGNORE}
    names = names or _numbered(
        path, {1 if second_is_255 and value == IGNORE else value: file for value, file in values.items()}
    )
    second_is_255 = second_is_255 and len(names) == 2
    pixels = stacks[0].finish()
    targets = stacks[1].finish()
    if second_is_255:
        _replace(stacks[1], targets)
    parts = _parts(path, keys, options)
    about = {
        "class_names": names,
        "content": hash_of([*images.hashes, *masks.hashes, "\n".join(names)]),
        "preprocessing": Preprocessing.fitted(select_rows(pixels, parts["train"]), scale=1 / 255).as_dict(),
        "skipped": images.bad,
        "second_is_255": second_is_255,
    }
    return cache.Contents(
        {"images": pixels, "masks": targets}, {part: (rows, rows) for part, rows in parts.items()}, about
    )


def _find_pairs(path: Path) -> list[_Pair]:
    """Pairs the files in folders "images" and "masks" by the rest of their paths."""
    found: dict[str, dict[tuple[str, ...], Entry]] = {"images": {}, "masks": {}}
    for entry in read_entries(path, lambda name: PurePosixPath(name).suffix.lower() in SUFFIXES):
        folders = PurePosixPath(entry.name).parts[:-1]
        kind = next((folder for folder in folders if folder in found), None)
        if entry.is_folder or kind is None:
            continue
        place = folders.index(kind)
        key = (*folders[:place], *folders[place + 1 :], PurePosixPath(entry.name).stem)
        if key in found[kind]:
            raise ValueError(
                f"Expected files of different names in the folders {kind} of {str(path)!r}. "
                f"Received: {found[kind][key].name} and {entry.name}"
            )
        found[kind][key] = entry
    keys = sorted(found["images"].keys() | found["masks"].keys())
    return [_Pair(key, found["images"].get(key), found["masks"].get(key)) for key in keys]


def _reader(names: list[str], options: Options, named_by: str) -> Callable[[_Pair], tuple[Decoded, Decoded] | str]:
    """Makes the function that reads a pair, or says why it cannot."""
    nearest = options.mask_reader

    def read(pair: _Pair) -> tuple[Decoded, Decoded] | str:
        if pair.image is None or pair.mask is None:
            return "no mask of this name" if pair.mask is None else "no image of this name"
        image = to_pixels(pair.image, ImageReader(channels=None))
        mask = to_pixels(pair.mask, lambda data: read_mask(data, names, named_by))
        pixels, indices = image[0], mask[0]
        if isinstance(pixels, str):
            return pixels
        if isinstance(indices, str):
            return f"its mask: {indices}"
        if pixels.shape[:2] != indices.shape[:2]:
            height, width = indices.shape[:2]
            return f"{pixels.shape[0]}x{pixels.shape[1]}, but its mask is {height}x{width} (height x width)"
        return (options.reader(pixels), image[1]), (nearest(indices), mask[1])

    return read


def read_mask(data: bytes, names: list[str] | tuple[str, ...] = (), named_by: str = CLASS_NAMES) -> np.ndarray:
    """Reads the class indices of a mask, uint8 (height, width).

    Args:
        data: The contents of the file.
        names: The classes, if they are known.
        named_by: Where they are from, for errors.

    Raises:
        BadImage: If it is damaged, or not a mask of these classes.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            form, mode = opened.format, opened.mode
            values: Any = np.asarray(opened)
    except UnidentifiedImageError:
        raise BadImage("no image, or of a format that is not known") from None
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise BadImage(str(error) or type(error).__name__) from None
    if form in _BITS_LOST:
        raise BadImage(f"{form}, which may change the values of pixels; write masks as PNG")
    if mode == "RGB" and (values == values[..., :1]).all():
        values = values[..., 0]
    if values.ndim != 2:
        raise BadImage(f"in colour (mode {mode}); write the index of a class as the grey value of a pixel")
    if values.min() < 0 or values.max() > IGNORE:
        raise BadImage(f"values from {values.min()} to {values.max()}, beyond 0 to {IGNORE}")
    known = values[values != IGNORE]
    if names and known.size and known.max() >= len(names):
        raise BadImage(f"the value {known.max()}, but {named_by} names {len(names)} classes, from 0")
    return values.astype("uint8")


def _numbered(path: Path, values: dict[int, str]) -> list[str]:
    """Names classes by their numbers, which must be all up to the largest one."""
    known = sorted(set(values) - {IGNORE})
    if known != list(range(len(known))):
        gap = next(value for place, value in enumerate(known) if value != place)
        raise ValueError(
            f"Expected masks with the values 0, 1, 2, ... in {str(path)!r}, or {CLASS_NAMES} with the name of each "
            f"class. Received: the values {', '.join(map(str, known[:10]))}, such as {gap} in {values[gap]}"
        )
    return [str(value) for value in known]


def _replace(stack: cache.ImageStack, masks: np.ndarray) -> None:
    """Makes 255 the class 1."""
    writable = masks if stack.folder is None else np.load(stack.folder / stack.name, mmap_mode="r+")
    for mask in writable:
        mask[mask == IGNORE] = 1


def _parts(path: Path, keys: list[tuple[str, ...]], options: Options) -> dict[str, np.ndarray]:
    said = [next((folder for folder in key[:-1] if folder.lower() in PARTS), "") for key in keys]
    parts = group_parts(str(path), said)
    if "test" not in parts:
        parts |= options.split(parts["train"], partial(choose_at_random, len(parts["train"])))
    return parts
