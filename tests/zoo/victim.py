"""A training that kills itself: `python victim.py FOLDER MOMENT`. It resumes a run that is in the folder."""

import json
import os
import signal
import sys
from pathlib import Path

import keras

import zoo
from zoo.training import checkpoints
from zoo.training import loop as training

SETTINGS = {
    "recipe": "resnet20_digits",
    "data": "digits",
    "checkpoint_steps": 5,
    "epochs": 3,
    "batch_size": 128,
    "network": "stochastic_resnet110",
    "arguments.depth": 8,
    "optimizer.ema": 0.9,
}
SAVE = checkpoints.np.savez
DROPOUT = {"network": "wrn_16_2", "arguments": {"depth": 10, "width": 1, "dropout": 0.3}}


class DieAt(keras.callbacks.Callback):
    """Dies in a step of an epoch, both counted from 0."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.moment = epoch, batch

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.moment:
            die()


class DieWhileEvaluating(keras.callbacks.Callback):
    def on_test_batch_end(self, batch, logs=None):
        die()


def die(*ignored, **also):
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_a_checkpoint(file, **arrays):
    """Half-way through the checkpoint of an epoch's end, when the row of the epoch is in the history."""
    if json.loads(arrays["progress"].tobytes())["batch"] == 0:
        file.write(bytes(1000))
        file.flush()
        die()
    SAVE(file, **arrays)


def main():
    folder, moment = Path(sys.argv[1]), sys.argv[2]
    callbacks = []
    if moment == "step":
        # After a checkpoint in the middle of the second epoch, and some steps more.
        callbacks = [DieAt(1, 7)]
    elif moment == "evaluation":
        callbacks = [DieWhileEvaluating()]
    elif moment == "checkpoint":
        checkpoints.np.savez = die_in_a_checkpoint
    elif moment == "status":
        training.count = die
    if (folder / "run.json").exists():
        zoo.resume(folder, callbacks=callbacks)
    else:
        extra = DROPOUT if "dropout" in sys.argv else {}
        zoo.train(**SETTINGS | extra, out=folder, callbacks=callbacks)


if __name__ == "__main__":
    main()
