"""Measures whether memory stays flat while worker processes decode many photos.

    python -m benchmarks.training.worker_memory [--images 100000] [--side 64]

It reads batches of random-resized crops of parts of real photos, of 300 to 600 pixels, and writes down the memory of
this process and of its workers every tenth of the way, after the first tenth. The figures are the MiB of each process
at its least and its most. Small crops make it quicker, and change nothing that could leak: each photo is opened,
decoded, resized and handed over.
"""

import argparse
import re
import tempfile
import time
from multiprocessing import active_children
from pathlib import Path

from ..harness import parse_options, resident_memory, write_result
from .photos import AREA, MEAN, STD, make_photos


def resident(process):
    """The resident MiB of a process."""
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(encoding="utf-8"))[1]) / 1024


def measure(folder, images, side, batch):
    import zoo
    from zoo.data import Augmentation

    source = zoo.load_source(folder, image_size=(side, side), stream=True)
    given = source.train_inputs, source.train_targets, 2, zoo.Preprocessing(1 / 255, MEAN, STD), batch
    changes = Augmentation(crop_area=AREA, flip=True, mixup=0.2)
    batches = zoo.Batches(*given, seed=0, augmentation=changes, epochs=10**6, processes=2)
    each, number, done, rows = images // 10, 0, 0, []
    start = time.perf_counter()
    while len(rows) < 10:
        done += len(batches.batch(*divmod(number, batches.batches_per_epoch))[0])
        number += 1
        if done >= each * (len(rows) + 1):
            workers = sorted(child.pid for child in active_children())
            rows.append([done, resident_memory(), *map(resident, workers)])
            print(*(f"{value:,.0f}" for value in rows[-1]), f"{done / (time.perf_counter() - start):.0f}/s", flush=True)
    batches.close()
    return {"rows": rows, "growth": [max(column[1:]) - column[0] for column in list(zip(*rows, strict=True))[1:]]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--batch", type=int, default=256)
    options = parse_options(parser)
    with tempfile.TemporaryDirectory() as folder:
        make_photos(folder, 400)
        figures = measure(folder, options.images, options.side, options.batch)
    print("MiB more than after the first tenth:", *(f"{value:.1f}" for value in figures["growth"]))
    if options.json:
        write_result(options.json, {"images": options.images, "side": options.side}, figures)


if __name__ == "__main__":
    main()
