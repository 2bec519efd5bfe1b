"""Makes a source of shards with so few images that all of them are decoded once, into the cache."""

from pathlib import Path

from export.archives import Entry

from .. import cache
from ..decoding import DecodedImages, decode, hash_of, to_pixels
from ..image_files import source_of
from ..options import Options, Progress
from ..rows import select_rows
from ..source import Preprocessing, Source
from .index import Indexer


def decode_shards(
    path: Path, indexer: Indexer, options: Options, cache_in: Path | None, progress: Progress | None
) -> Source:
    """Makes a source of the images of shards, which are in memory or mapped into it.

    Args:
        path: The shards, as `load_source` takes them.
        indexer: Lists their images.
        options: How to read them.
        cache_in: The folder of the cache; None keeps the images in memory.
        progress: Called with how many images are read and how many there are.
    """

    def read(stacks: list[cache.ImageStack]) -> cache.Contents:
        listing, images = indexer.whole_listing(), DecodedImages(path, stacks[0], options)
        files, bad = listing.files, dict[int, str]()

        def entry(place: int) -> Entry:
            return Entry(files.member(place), files.read(place), 0, place + 1, len(files))

        for place, pixels in decode(
            range(len(files)),
            lambda place: to_pixels(entry(place), options.reader),
            progress,
            lambda place: Entry("", None, 0, place + 1, len(files)),
        ):
            if not images.add(files.member(place), pixels):
                bad[place] = images.bad[-1]
        images.refuse_bad()
        listing.leave_out(bad)
        layout, decoded = indexer.layout(), stacks[0].finish()
        about = {
            "class_names": list(layout.class_names),
            "content": hash_of(images.hashes),
            "preprocessing": Preprocessing.fitted(
                select_rows(decoded, layout.parts["train"][0]), scale=1 / 255
            ).as_dict(),
            "skipped": listing.faults,
        }
        return cache.Contents({"images": decoded}, layout.parts, about)

    facts = {"shards": indexer.state, "options": options.as_dict()}
    return source_of(path, cache.through(cache_in, path, facts, ("images",), read))
