"""Compares how fast photos are read with TensorFlow, with PyTorch, and with decoding alone.

    python -m benchmarks.training.pipeline [--photos 400] [--images 1500] [--rounds 5] [--torch PYTHON]

Each makes batches of random-resized crops to 224 pixels, mirrored at random and standardised, of JPEGs of 300 to 600
pixels (photos.py), with as many workers as there are cores:

    keras-skip             `zoo.Batches` as it is by default, with worker processes
      threads              the same in threads of this process, of Keras and of grain
      opencv               with augment.crop_interpolation="opencv", which is not antialiased
    tf.data                decode_and_crop_jpeg, which decodes only the box, and a parallel map with AUTOTUNE; two
                           batches ahead, since with AUTOTUNE it would keep all of them after a while
      antialiased          with the interpolation of Pillow and torchvision
    PyTorch                DataLoader and torchvision (pytorch.py), in the interpreter of --torch or BENCH_TORCH
    decoding alone         Pillow in as many processes, which crop and resize, and keep nothing

Each is a process that waits for its turn, and discards what it made ahead before its clock starts. The figures are
images per second by the clock, and per core by processor time, on which other load has less influence; the MiB of all
its processes; and the ratios of our speed to the others over the rounds: of "opencv" to tf.data, since neither
antialiases, and of the default to the rest.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pool
from pathlib import Path

from ..harness import ROOT, alternate, format_spread, parse_options, spread, write_result
from ..layers.steps import find_torch
from .photos import AREA, MEAN, RATIO, SIZE, STD, answer, list_photos, make_photos

CORES = len(os.sched_getaffinity(0))
OURS, QUICK, PYTORCH = "keras-skip", "keras-skip, opencv", "PyTorch"
# With which of ours the others are compared.
COUNTERPARTS = {"tf.data": QUICK}


def our_batches(folder, batch, processes, interpolation="bilinear"):
    import zoo
    from zoo.data import Augmentation

    source = zoo.load_source(folder, image_size=(SIZE, SIZE), stream=True)
    changes = Augmentation(crop_area=AREA, crop_ratio=RATIO, crop_interpolation=interpolation, flip=True)
    inputs, targets = source.train_inputs, source.train_targets
    # As long as it is asked for.
    options = {"seed": 0, "augmentation": changes, "epochs": 10_000, "processes": processes}
    return zoo.Batches(inputs, targets, 2, zoo.Preprocessing(1 / 255, MEAN, STD), batch, **options)


def in_order(batches):
    """Takes batches as Keras does, in two threads and in order."""
    with ThreadPoolExecutor(2) as pool:
        asked = []
        for number in itertools.count():
            asked.append(pool.submit(batches.batch, *divmod(number, batches.batches_per_epoch)))
            if len(asked) > batches.max_queue_size:
                yield asked.pop(0).result()


def in_threads_of_grain(batches):
    """Makes slices in threads of grain; they come as they are, and are not joined to batches."""
    import grain

    parts = -(-batches.batch_size // 32)

    def make(number):
        place, part = divmod(number, parts)
        return batches.make(*divmod(place, batches.batches_per_epoch), (part, parts))

    return iter(grain.MapDataset.range(10**9).map(make).to_iter_dataset(grain.ReadOptions(CORES, 4 * CORES)))


def tensorflow_batches(folder, batch, antialias):
    import tensorflow as tf

    paths, labels = list_photos(folder)

    def read(path, label):
        data = tf.io.read_file(path)
        shape = tf.image.extract_jpeg_shape(data)
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            shape, tf.zeros((1, 0, 4)), area_range=AREA, aspect_ratio_range=RATIO, use_image_if_no_bounding_boxes=True
        )
        window = tf.concat([begin[:2], size[:2]], 0)
        image = tf.image.resize(tf.io.decode_and_crop_jpeg(data, window, channels=3), (SIZE, SIZE), antialias=antialias)
        return (tf.image.random_flip_left_right(image) / 255 - MEAN) / STD, label

    data = tf.data.Dataset.from_tensor_slices((paths, labels)).shuffle(len(paths)).repeat()
    data = data.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).batch(batch)
    return data.prefetch(2).as_numpy_iterator()


def cut(path):
    """Decodes a photo, and resizes a random box of it; for a process of its own."""
    import numpy as np
    from PIL import Image

    from zoo.data.augmentation.boxes import crop_box

    with Image.open(path) as image:
        top, left, tall, wide = crop_box(np.random.random(22), image.height, image.width, AREA, RATIO)
        box = (left, top, left + wide, top + tall)
        np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box))


def decode_alone(folder):
    pool, paths = Pool(CORES), list_photos(folder)[0]

    def run(wanted):
        pool.map(cut, itertools.islice(itertools.cycle(paths), wanted), chunksize=50)
        return wanted

    return run


PIPELINES = {
    OURS: lambda *given: in_order(our_batches(*given, CORES)),
    QUICK: lambda *given: in_order(our_batches(*given, CORES, "opencv")),
    f"{OURS}, threads of Keras": lambda *given: in_order(our_batches(*given, 0)),
    f"{OURS}, threads of grain": lambda *given: in_threads_of_grain(our_batches(*given, 0)),
    "tf.data": lambda *given: tensorflow_batches(*given, antialias=False),
    "tf.data, antialiased": lambda *given: tensorflow_batches(*given, antialias=True),
    "decoding alone": lambda folder, batch: decode_alone(folder),
}


class Pipeline:
    """A pipeline in another process, which waits until it is asked for figures."""

    def __init__(self, command):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.command, self._process = command, subprocess.Popen(command, cwd=ROOT, env=environment, **streams)
        self.version, self.found = self._answer(), []

    def measure(self, images):
        print(images, file=self._process.stdin, flush=True)
        self.found.append(self._answer())
        return self.found[-1]["seconds"]

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.command} has ended; its error is above.")
        return json.loads(line)

    def close(self):
        self._process.communicate()


def measure(folder, options):
    """Measures all pipelines in turns, and returns their figures."""
    module, interpreter = (
        [sys.executable, "-m", "benchmarks.training.pipeline", "--pipeline"],
        find_torch(options.torch),
    )
    commands = {name: [*module, name, folder, str(options.batch)] for name in options.only or PIPELINES}
    if interpreter[0] and not options.only:
        script = Path(__file__).with_name("pytorch.py")
        commands[PYTORCH] = [interpreter[0], str(script), folder, str(options.batch), str(CORES)]
    pipelines = {name: Pipeline(command) for name, command in commands.items()}
    for pipeline in pipelines.values():
        pipeline.measure(options.images // 4)
        pipeline.found.clear()
    alternate({name: lambda p=p: p.measure(options.images) for name, p in pipelines.items()}, options.rounds)
    found = {name: pipeline.found for name, pipeline in pipelines.items()}
    for pipeline in pipelines.values():
        pipeline.close()
    figures = {"cores": CORES, "without PyTorch": interpreter[1], "pipelines": {}}
    for name, rounds in found.items():
        figures["pipelines"][name] = {
            "images per second": spread([1 / each["seconds"] for each in rounds]),
            "images per second of processors": spread([1 / each["processor"] for each in rounds]),
            "MiB": max(each["MiB"] for each in rounds),
            "version": pipelines[name].version,
            # Ours is as many times as fast, by the clock and by the processor.
            "ratio": compare("seconds", rounds, found.get(COUNTERPARTS.get(name, OURS))),
            "processor ratio": compare("processor", rounds, found.get(COUNTERPARTS.get(name, OURS))),
        }
    return figures


def compare(clock, theirs, ours):
    """Returns the spread of the ratio over the rounds; None if ours was not measured."""
    return ours and spread([their[clock] / our[clock] for their, our in zip(theirs, ours, strict=True)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=400)
    parser.add_argument("--images", type=int, default=1500, help="of each pipeline in each round")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--torch", default=os.environ.get("BENCH_TORCH"), help="an interpreter that has PyTorch")
    parser.add_argument("--only", action="append", choices=PIPELINES, help="one pipeline, or several")
    parser.add_argument("--pipeline", nargs=3, help=argparse.SUPPRESS)
    options = parse_options(parser)
    if options.pipeline:
        name, folder, batch = options.pipeline
        answer(PIPELINES[name](folder, int(batch)))
        return
    with tempfile.TemporaryDirectory() as folder:
        make_photos(folder, options.photos)
        figures = measure(folder, options)
    for name, found in figures["pipelines"].items():
        rates = [format_spread(found[f"images per second{kind}"]) for kind in ("", " of processors")]
        both = [format_spread(found[kind]) for kind in ("ratio", "processor ratio") if found[kind]]
        print(f"{name:28} {rates[0]:>28} {rates[1]:>28} {found['MiB']:8.0f} MiB   ours / theirs {' '.join(both)}")
    if options.json:
        write_result(options.json, {"images": options.images, "rounds": options.rounds}, figures)


if __name__ == "__main__":
    main()
