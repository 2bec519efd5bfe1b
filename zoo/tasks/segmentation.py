"""Segmentation: each pixel has one class, or is ignored."""

from typing import TYPE_CHECKING

import numpy as np

from ..data.layout import choose_at_random
from ..data.rows import chunks
from .task import check_class_names, check_targets

if TYPE_CHECKING:
    from ..data.source import Source

IGNORE = 255  # the class of pixels that do not count


class Segmentation:
    """Targets are masks, uint8 of the size of the images: indices into the class names, or 255."""

    name = "segmentation"
    dtype = "uint8"

    def check(self, source: "Source") -> None:
        check_class_names(source)
        if source.classes > IGNORE:
            raise ValueError(f"Expected at most {IGNORE} classes for segmentation. Received: {source.classes}")
        for part in source.parts:
            inputs, masks = getattr(source, f"{part}_inputs"), getattr(source, f"{part}_targets")
            if inputs.ndim < 3:
                raise ValueError(
                    f"Expected {part}_inputs of segmentation as (examples, height, width, channels). "
                    f"Received: {inputs.dtype} of shape {inputs.shape}"
                )
            check_targets(source, part, "u", inputs.shape[:-1], "masks of uint8")
            seen = np.flatnonzero(sum(np.bincount(chunk.ravel(), minlength=256) for chunk in chunks(masks)))
            known = seen[seen != IGNORE]
            if len(known) and known[-1] >= source.classes:
                raise ValueError(
                    f"Expected {part}_targets from 0 to {source.classes - 1}, one for each class name, or {IGNORE} for "
                    f"pixels to ignore. Received: {part}_targets with {known[-1]}"
                )
            if part == "train" and len(known) < 2:
                raise ValueError(
                    f"Expected train_targets of two classes or more. Received: {source.name!r} with only "
                    f"{', '.join(source.class_names[label] for label in known) or 'pixels to ignore'}"
                )

    def outputs(self, source: "Source") -> int:
        return source.classes

    def choose(self, source: "Source", fraction: float, seed: int) -> np.ndarray:
        return choose_at_random(len(source.train_targets), fraction, seed)


TASK = Segmentation()
