"""Measures the index of tar shards with as many images as ImageNet: its time, and the memory of the process.

    python -m benchmarks.training.index [--images 1300000] [--folder FOLDER] [--json FILE]

It repeats a hundred small photos under other names, each with a label in a file of its own: KEY.jpg and KEY.cls. Every
index is made in a process of its own. "headers" lists the members of one shard with tarfile and with zoo, in turns.
"""

import argparse
import io
import os
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.harness import alternate, parse_options, ratio, resident_memory, run_in_own_process, write_result

EACH, CLASSES, PHOTOS, ROUNDS = 10_000, 1000, 100, 5


def make_photos():
    from PIL import Image

    rng, photos = np.random.default_rng(0), []
    for _ in range(PHOTOS):
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype="uint8")).save(out, "JPEG")
        photos.append(out.getvalue())
    return photos


def make_shards(folder, images):
    """Writes shards of 10,000 images, every 26th of which is for validation."""
    photos, blocks = make_photos(), {}

    def write(file, name, content):
        member = tarfile.TarInfo(name)
        member.size = len(content)
        file.write(member.tobuf(tarfile.USTAR_FORMAT))
        file.write(blocks.setdefault(content, content.ljust(-(-len(content) // 512) * 512, b"\0")))

    for number, start in enumerate(range(0, images, EACH)):
        part = "validation" if number % 26 == 25 else "train"
        with open(folder / f"{part}-{number:04d}.tar", "wb") as file:
            for place in range(start, min(start + EACH, images)):
                write(file, f"{place:08d}.jpg", photos[place % PHOTOS])
                write(file, f"{place:08d}.cls", str(place % CLASSES).encode())
            file.write(bytes(1024))


def load(folder, cache):
    """Loads the source; the first time it makes the index."""
    from zoo.data import load_source

    before, start = resident_memory(), time.perf_counter()
    source = load_source(folder, image_size=(16, 16), stream=True, cache=cache)
    seconds = time.perf_counter() - start
    images = sum(len(getattr(source, f"{part}_targets")) for part in source.parts)
    return {"seconds": seconds, "MiB before": before, "MiB at most": resident_memory("VmHWM"), "images": images}


def compare_headers(shard):
    from zoo.data.streaming.tars import Window, list_members

    def own():
        start = time.perf_counter()
        with open(shard, "rb", buffering=0) as file:
            found.append([tuple(member) for member in list_members(Window(file), 0, os.path.getsize(shard))])
        return time.perf_counter() - start

    def standard():
        start = time.perf_counter()
        with tarfile.open(shard, "r:") as archive:
            found.append([(member.name, member.offset_data, member.size) for member in archive])
        return time.perf_counter() - start

    found = []
    times = alternate({"zoo": own, "tarfile": standard}, ROUNDS)
    assert all(listed == found[0] for listed in found)
    return ratio(times, "tarfile", "zoo")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1_300_000)
    parser.add_argument("--folder", type=Path, help="for the shards, which are kept there. Default: a temporary one")
    options = parse_options(parser, load)
    with tempfile.TemporaryDirectory() as temporary:
        shards = options.folder or Path(temporary, "shards")
        if not list(shards.glob("*.tar")):
            shards.mkdir(exist_ok=True)
            make_shards(shards, options.images)
        cache = str(Path(temporary, "cache"))
        figures = {
            name: run_in_own_process("benchmarks.training.index", str(shards), cache) for name in ("first", "again")
        }
        figures["headers"] = compare_headers(next(shards.glob("*.tar")))
    for name, row in figures.items():
        print(f"{name:8}", ", ".join(f"{key} {value:,.2f}" for key, value in row.items()))
    if options.json:
        write_result(options.json, {"images": options.images}, figures)


if __name__ == "__main__":
    main()
