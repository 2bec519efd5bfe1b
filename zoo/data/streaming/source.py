"""Makes a source of photos, which stay encoded if they would be too large decoded, or if the caller wants them to."""

import io
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from export.images import FORMATS, ImageReader

from ..decoding import warn_of_skipped
from ..masks import has_masks
from ..options import Options, Progress
from ..source import Preprocessing, Source
from ..tables import table_files
from .decoded import decode_shards
from .index import Index, Indexer
from .listing import Listing
from .patterns import is_pattern, is_shard
from .photos import Photos

# Images that would take more bytes than this decoded stay encoded: 28,000 of 224x224 in colour, or 350,000 of 64x64.
LIMIT = 4 * 2**30
# The number of training images that the preprocessing is fitted to.
SAMPLE = 1000


def from_photos(path: Path, options: Options, cache_in: Path | None, progress: Progress | None) -> Source | None:
    """Makes a source of the images in a folder or in shards; None for those that `from_files` should decode.

    Raises:
        ValueError: If files are damaged or have no labels, or if images to be streamed differ in size.
    """
    if not can_stream(path):
        return None
    indexer = Indexer(path, options, cache_in, progress)
    index = indexer.find()
    if index is None and not len(indexer.listing) and not indexer.listing.faults and not options.stream:
        return None
    reader = replace(options.reader, channels=options.channels or 3)
    bytes_decoded = _bytes_decoded(indexer.listing, reader) if index is None else index.about["bytes_decoded"]
    if options.stream or (options.stream is None and bytes_decoded > LIMIT):
        index = index or indexer.make(lambda made: _describe(made, reader, bytes_decoded))
        return _streamed(path, index, reader)
    # A single archive of class folders is read in one pass.
    decodes = indexer.shards and (len(indexer.shards) > 1 or indexer.shards[0] != path or indexer.listing.labelled)
    return decode_shards(path, indexer, options, cache_in, progress) if decodes else None


def can_stream(path: Path) -> bool:
    """Whether the images at a path can stay encoded: it is a folder or shards, without a table or masks."""
    holds_images = path.is_dir() or is_pattern(path) or is_shard(path.name)
    return holds_images and not table_files(path) and not has_masks(path)


def explain_reading(source: Source, parts: Sequence[str] = ()) -> str:
    """Returns a line that says whether the images of a source stay encoded; "" if there was no choice.

    Args:
        source: The source.
        parts: The parts that are used. Default: all.
    """
    streamed = isinstance(source.train_inputs, Photos)
    if not streamed and not ("skipped" in source.origin and can_stream(Path(source.name))):
        return ""
    used = [getattr(source, f"{part}_inputs") for part in parts or source.parts]
    images, size = f"{sum(map(len, used)):,} images", sum(part.size for part in used)
    unit, one = next((row for row in (("GB", 1e9), ("MB", 1e6)) if size >= row[1]), ("kB", 1e3))
    decoded = f"{size / one:,.1f} {unit}"
    if streamed:
        return f"Streaming {images}, which would take {decoded} decoded; --cache decodes them once"
    return f"{images}, decoded once: {decoded}; --stream leaves them encoded"


def _bytes_decoded(listing: Listing, reader: ImageReader) -> int:
    """The bytes of all images, decoded. If they are not resized, each counts as many pixels as the first one."""
    pixels = math.prod(reader.size) if reader.size else _first_pixels(listing)
    return len(listing) * pixels * 3


def _first_pixels(listing: Listing) -> int:
    """The number of pixels of the first image that can be opened."""
    from PIL import Image

    for place in range(len(listing)):
        # A damaged file can raise anything.
        with suppress(Exception), Image.open(io.BytesIO(listing.files.read(place)), formats=FORMATS) as image:
            return image.width * image.height
    return 0


def _describe(index: Index, reader: ImageReader, bytes_decoded: int) -> dict[str, Any]:
    """Reads a sample of the training images, for their size and their preprocessing."""
    places = index.parts["train"][0]
    places = places[np.linspace(0, len(places) - 1, min(SAMPLE, len(places))).astype(int)]
    size = reader.size or reader(index.files.read(int(places[0]))).shape[:2]
    fitted = Preprocessing.fitted(Photos(index.files, reader, places, size), scale=1 / 255)
    return {"size": list(size), "preprocessing": fitted.as_dict(), "bytes_decoded": bytes_decoded}


def _streamed(path: Path, index: Index, reader: ImageReader) -> Source:
    about = index.about
    warn_of_skipped(path, about["skipped"], stacklevel=6)
    height, width = about["size"]
    arrays: dict[str, Any] = {}
    for part, (places, labels) in index.parts.items():
        arrays[f"{part}_inputs"] = Photos(index.files, reader, places.astype("int32"), (height, width))
        arrays[f"{part}_targets"] = labels
    return Source(
        name=str(path),
        class_names=tuple(about["class_names"]),
        preprocessing=Preprocessing.from_dict(about["preprocessing"]),
        origin={"content": about["content"], "skipped": len(about["skipped"])},
        **arrays,
    )
