"""The options of `load_source` for reading files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from export.images import RESIZES, ImageReader, check_size
from export.tables import KINDS

from .._names import unknown
from ..tasks import task_of

# Called with how much is read and how much there is: files, or bytes of a tar.
Progress = Callable[[int, int], None]
OnBadImage = Literal["error", "skip"]
IGNORE = "ignore"  # the kind of a column that is left out
COLUMN_KINDS = (*KINDS, IGNORE)
ON_BAD_IMAGE: tuple[OnBadImage, ...] = ("error", "skip")


@dataclass(frozen=True)
class Options:
    """The options for reading files; all of them are part of the key in the cache.

    Attributes:
        image_size: Height and width that all images are resized to. None: as they are.
        resize: "crop" keeps the proportions and cuts out the centre, "stretch" does not.
        split_seed: Seed that chooses the test images, if the files do not say which they are.
        test_fraction: Fraction of each class to choose.
        on_bad_image: What to do with images that cannot be read.
        target: The column to predict, or several. Only of tables.
        task: "classification", "regression" or "segmentation". None: as the data suggest.
        split_column: The column that says train, validation or test. Only of tables.
        columns: The kinds of columns by name: "number", "date", "category", or "ignore". Only of tables.
        shorter: The shorter side of an image before its centre crop.
        stream: Whether images stay encoded. None: if they would be too large decoded.
        channels: Of all images, 1 or 3. None: grey if all are. Only from a record.
        whole: Whether all examples are for testing, and for training too, if the files do not say their parts.
    """

    image_size: tuple[int, int] | None = None
    resize: str = "crop"
    split_seed: int = 0
    test_fraction: float = 0.2
    on_bad_image: str = "error"
    target: str | Sequence[str] | None = None
    task: str | None = None
    split_column: str | None = None
    columns: Mapping[str, str] | None = None
    shorter: int | None = None
    stream: bool | None = None
    channels: int | None = None
    whole: bool = False

    def __post_init__(self) -> None:
        if self.image_size is not None:
            object.__setattr__(self, "image_size", check_size("image_size", self.image_size))
        if self.resize not in RESIZES:
            raise ValueError(f"Expected resize to be one of {', '.join(RESIZES)}. Received: resize={self.resize!r}")
        if self.stream not in (None, True, False):
            raise ValueError(f"Expected stream to be True, False or None. Received: stream={self.stream!r}")
        if self.shorter is not None and self.image_size is None:
            raise ValueError(f"Expected image_size too. Received: shorter={self.shorter!r} without it")
        self.reader  # noqa: B018  # checks `shorter`
        if not isinstance(self.split_seed, int) or self.split_seed < 0:
            raise ValueError(
                f"Expected split_seed to be an integer of at least 0. Received: split_seed={self.split_seed!r}"
            )
        if not 0 < self.test_fraction < 1:
            raise ValueError(
                f"Expected test_fraction to be between 0 and 1. Received: test_fraction={self.test_fraction!r}"
            )
        object.__setattr__(self, "test_fraction", float(self.test_fraction))
        if self.on_bad_image not in ON_BAD_IMAGE:
            raise ValueError(
                f"Expected on_bad_image to be one of {', '.join(ON_BAD_IMAGE)}. "
                f"Received: on_bad_image={self.on_bad_image!r}"
            )
        if self.task is not None:
            task_of(self.task)
        for name, kind in (self.columns or {}).items():
            if kind not in COLUMN_KINDS:
                raise unknown(f"the kind of the column {name!r}", kind, COLUMN_KINDS)

    def split(self, places: np.ndarray, choose: Callable[[float, int], np.ndarray]) -> dict[str, np.ndarray]:
        """Splits examples whose files do not say their parts.

        Args:
            places: Of the examples.
            choose: Takes a fraction and a seed, and chooses examples for testing, as a boolean array.
        """
        if self.whole:
            return {"train": places, "test": places}
        test = choose(self.test_fraction, self.split_seed)
        return {"train": places[~test], "test": places[test]}

    @property
    def of_tables(self) -> dict[str, Any]:
        """The options that are given and have a meaning for tables alone."""
        given = {name: getattr(self, name) for name in ("target", "split_column", "columns")}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items() if value}

    @property
    def reader(self) -> ImageReader:
        """Reads image files, each grey or in colour as it is unless `channels` says which."""
        return ImageReader(self.image_size, channels=self.channels, resize=self.resize, shorter=self.shorter)

    @property
    def mask_reader(self) -> ImageReader:
        """Reads the mask of such an image, without mixing its values."""
        return replace(self.reader, interpolation="nearest", channels=1)

    def as_dict(self) -> dict[str, Any]:
        """The options as plain data; some of them only if they are given."""
        size = None if self.image_size is None else list(self.image_size)
        common = {name: getattr(self, name) for name in ("resize", "split_seed", "test_fraction", "on_bad_image")}
        task = {} if self.task is None else {"task": self.task}
        given = {name: value for name in ("shorter", "stream", "channels", "whole") if (value := getattr(self, name))}
        return {"image_size": size, **common, **task, **self.of_tables, **given}
