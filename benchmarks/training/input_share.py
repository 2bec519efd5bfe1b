"""Measures the share of a training step that is lost to decoding photos.

    python -m benchmarks.training.input_share [--network resnet18] [--batch 16] [--steps 4] [--rounds 4]

`fit` takes steps on streamed photos of 300 to 600 pixels, cropped at random to 224, which worker processes read on the
cores that also train; and, in turns, steps on one such batch that stays in memory. The figures are the lost share by
the clock, and by the processor time of all processes, on which other load has less influence: minimum, median and
maximum over the rounds. The first steps of each round do not count.
"""

import argparse
import tempfile
import time

import keras

from ..harness import alternate, compile_for_training, format_spread, parse_options, spread, write_result
from .photos import AREA, MEAN, SIZE, STD, make_photos, processor_seconds

SKIPPED = 2


class Same(keras.utils.PyDataset):
    """One batch, again and again."""

    def __init__(self, batch, steps):
        super().__init__(workers=2, max_queue_size=2)
        self.batch, self.steps = batch, steps

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        return self.batch


class Clock(keras.callbacks.Callback):
    """Notes both clocks after the steps that do not count, and after the last one."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter(), processor_seconds()
        if batch == SKIPPED - 1:
            self.begun = now
        if batch < SKIPPED:
            return
        self.seconds = tuple((end - start) / self.steps for end, start in zip(now, self.begun, strict=True))


def measure(folder, options):
    import numpy as np

    import zoo
    from zoo.data import Augmentation

    source = zoo.load_source(folder, image_size=(SIZE, SIZE), stream=True)
    inputs, targets = source.train_inputs, source.train_targets
    preprocessing, changes = zoo.Preprocessing(1 / 255, MEAN, STD), Augmentation(crop_area=AREA, flip=True)
    rounds = {"seed": 0, "augmentation": changes, "epochs": options.rounds + 1}
    streamed = zoo.Batches(inputs, targets, 2, preprocessing, options.batch, **rounds)
    images, one_hot = streamed.batch(0, 0)
    # The compiled loss takes class numbers.
    model = compile_for_training(zoo.build(options.network, input_shape=(SIZE, SIZE, 3), classes=2))
    steps = SKIPPED + options.steps

    class Numbered(Same):
        def __getitem__(self, index):
            images, one_hot = self.batch.batch(self.epoch, index)
            return images, np.argmax(one_hot, axis=-1)

    memory, photos = Same((images, np.argmax(one_hot, axis=-1)), steps), Numbered(streamed, steps)
    photos.epoch = 0

    def time_fit(data):
        clock = Clock(options.steps)
        model.fit(data, shuffle=False, verbose=0, callbacks=[clock])
        if data is photos:
            photos.epoch += 1
        return clock.seconds

    time_fit(memory)
    found = alternate({"photos": lambda: time_fit(photos), "memory": lambda: time_fit(memory)}, options.rounds)
    streamed.close()
    pairs = list(zip(found["photos"], found["memory"], strict=True))
    shares = [spread([1 - same[clock] / read[clock] for read, same in pairs]) for clock in (0, 1)]
    step = spread([same[0] for _, same in pairs])
    return {"step": step, "share by the clock": shares[0], "share by the processor": shares[1]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=4)
    options = parse_options(parser)
    with tempfile.TemporaryDirectory() as folder:
        make_photos(folder, 2 * options.batch * (options.steps + SKIPPED + 1))
        figures = measure(folder, options)
    for name, found in figures.items():
        print(f"{name}: {format_spread(found)}")
    if options.json:
        arguments = {"network": options.network, "batch": options.batch, "rounds": options.rounds}
        write_result(options.json, arguments, figures)


if __name__ == "__main__":
    main()
