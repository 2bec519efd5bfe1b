"""What the benchmarks of photos share: the photos, and how a process reports figures of its pipeline.

It needs only NumPy and Pillow, so that an interpreter without Keras can import it.
"""

import json
import os
import sys
import time
from pathlib import Path

SIZE = 224
SIDES = (300, 600)
AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Images that are taken before the clock starts, since a pipeline has made some ahead.
DRAINED = 512


def make_photos(folder, count):
    """Writes parts of scikit-learn's two photos as JPEGs of 300 to 600 pixels, of quality 90, in two class folders."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    rng, photos = np.random.default_rng(0), [Image.fromarray(pixels) for pixels in load_sample_images().images]
    for number in range(count):
        photo, (width, height) = photos[number % 2], rng.integers(*SIDES, 2, endpoint=True).tolist()
        # Between a half and all of what such a shape can show of the photo.
        share = rng.uniform(0.5, 1) * min(photo.width / width, photo.height / height)
        across, down = share * width, share * height
        left, top = rng.uniform(0, photo.width - across), rng.uniform(0, photo.height - down)
        path = Path(folder, "china" if number % 2 == 0 else "flower", f"{number:05}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        box = (left, top, left + across, top + down)
        photo.resize((width, height), Image.Resampling.BICUBIC, box=box).save(path, quality=90)


def list_photos(folder):
    """Returns the paths of all photos, and the numbers of their classes."""
    paths = sorted(map(str, Path(folder).rglob("*.jpg")))
    return paths, [int(Path(path).parent.name == "flower") for path in paths]


def answer(batches, version=""):
    """Answers each line N with the seconds of N images, by the clock and of processors, and the MiB of all processes.

    Args:
        batches: An iterator of batches, or a function of a number of images that makes them.
        version: What the first line says.
    """
    print(json.dumps(version), flush=True)
    for line in sys.stdin:
        take(batches, DRAINED)
        start, used = time.perf_counter(), processor_seconds()
        count = take(batches, int(line))
        found = {"seconds": (time.perf_counter() - start) / count, "processor": (processor_seconds() - used) / count}
        print(json.dumps(found | {"MiB": memory()}), flush=True)


def take(batches, wanted):
    """Takes batches until there are so many images, and returns how many there were."""
    if callable(batches):
        return batches(wanted)
    count = 0
    while count < wanted:
        images, _ = next(batches)
        assert tuple(images.shape[1:]) in ((SIZE, SIZE, 3), (3, SIZE, SIZE))
        count += len(images)
    return count


def processes():
    """This process and all below it; only on Linux."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [os.getpid()]
    for process in found:
        found.extend(child for child, parent in parents.items() if parent == process)
    return found


def processor_seconds():
    """The processor time of this process and of those below it."""
    total = 0
    for process in processes():
        user, system = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
        total += int(user) + int(system)
    return total / os.sysconf("SC_CLK_TCK")


def memory():
    """The MiB of this process and of those below it, with each shared page counted once."""
    total = 0
    for process in processes():
        lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024
