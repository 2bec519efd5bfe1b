"""One host of a training that may kill itself: `python host.py FOLDER DATA DEVICES LOG [EPOCH BATCH]`.

It resumes the run that is in FOLDER, on as many devices a host as before. Each line of LOG has an epoch, a batch and
the checksums of its training examples, as the network gets them.
"""

import json
import os
import signal
import sys
import zlib
from pathlib import Path

import keras

import zoo
from zoo.devices.selection import select
from zoo.training import loop

SETTINGS = {
    "recipe": "resnet20_digits",
    "epochs": 2,
    "batch_size": 16,
    "checkpoint_steps": 2,
    "optimizer.lr": 0.01,
    "arguments.depth": 8,
    "augment.pad": 0,
    "augment.crop_area": (0.3, 1.0),
    "augment.mixup": 0.2,
}


def log_examples(path):
    """Has `Batches` write down what it returns; slices of a batch have the checksums of the examples in the whole."""
    get = zoo.Batches.__getitem__

    def get_and_log(batches, index):
        images, labels = get(batches, index)
        if batches.seed is not None:
            epoch, start = batches.position
            line = [epoch, start + index, *(zlib.crc32(image.tobytes()) for image in images)]
            with path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        return images, labels

    zoo.Batches.__getitem__ = get_and_log


class DieAt(keras.callbacks.Callback):
    """Dies before a step of an epoch, both counted from 0."""

    def __init__(self, *moment):
        super().__init__()
        self.moment = moment

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.moment:
            os.kill(os.getpid(), signal.SIGKILL)


def main():
    folder, data, devices, log, *moment = sys.argv[1:]
    folder, callbacks = Path(folder), [DieAt(*map(int, moment))]
    log_examples(Path(log))
    # Its figures take longer to draw than this network to train.
    loop.write_report = lambda *ignored: None
    if (folder / "run.json").exists():
        zoo.resume(folder, callbacks=callbacks)
    else:
        selected = select("cpu", int(devices))
        source = zoo.load_source(data, image_size=(16, 16), stream=True)
        zoo.train(**SETTINGS, data=source, out=folder, callbacks=callbacks, devices=selected)


if __name__ == "__main__":
    main()
