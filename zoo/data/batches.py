"""The input pipeline. Each batch is a pure function of (seed, epoch, batch), so two integers describe any position of a
training run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import keras
import numpy as np

from ..tasks import task_of
from .augmentation import Augmentation
from .augmentation.checks import check_augmentation
from .crops import are_encoded
from .making import NOTHING, BatchMaker, find_brightest
from .rows import first_rows
from .source import Preprocessing, Source
from .workers.count import count_workers
from .workers.stream import WorkerStream


class Batches(BatchMaker, keras.utils.PyDataset):
    """Preprocessed inputs and encoded targets, batch by batch: one-hot labels, floats or masks.

    Call `fit` with `shuffle=False`, because Keras would shuffle whole batches with Python's global generator. With a
    seed the data set shuffles its examples itself, differently in each epoch. Set the epoch before it begins: Keras
    fetches batches before it calls `on_epoch_begin` of this class, and calls `on_epoch_end` once too often.

    Keras asks for the number of batches once for a whole `fit`. So the rest of an epoch, from a `position` in its
    middle, needs a `fit` of its own, and the epochs after it another one.

    Args:
        images: Raw inputs, such as pixels, uint8, (examples, height, width, channels).
        labels: The targets, as in `zoo.Source`, such as integers, (examples,).
        classes: Number of classes, or of other outputs.
        preprocessing: Turns the inputs into those of the network.
        batch_size: Examples in each batch but the last, which may have fewer.
        seed: For the order and the augmentation. None: in order and without augmentation.
        augmentation: The changes to the images.
        epochs: The length of the run, by whose fractions `augmentation.sizes` changes.
        start: The batch of epoch 0 to begin at; see `position`.
        shard: (rank, count): each of several processes gets its slice of every batch. The slices of all ranks together
            are the batch of a single process.
        task: What the labels are: "classification", "regression" or "segmentation".
        processes: If the images are `Photos`, how many worker processes make the batches ahead; 0 for threads in this
            process. Default: KERAS_SKIP_WORKERS, or else one for each core that this process may use.

    Attributes:
        epoch: The current epoch. Setting another one starts at its first batch.
        position: (epoch, batch): the epoch and its first batch to come.
        failure: The last error while a batch was made; the caller of `fit` only sees the backend's report of it.

    Example:

    >>> import zoo
    >>> source = zoo.load_source("digits")
    >>> batches = zoo.Batches(source.test_inputs, source.test_targets, 10, source.preprocessing, 128)
    >>> images, labels = batches[0]
    >>> images.shape, labels.shape
    ((128, 8, 8, 1), (128, 10))
    >>> batches.position = (3, 1)
    >>> len(batches)
    2
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        classes: int,
        preprocessing: Preprocessing,
        batch_size: int,
        *,
        seed: int | None = None,
        augmentation: Augmentation = NOTHING,
        epochs: int = 1,
        start: int = 0,
        shard: tuple[int, int] = (0, 1),
        task: str = "classification",
        processes: int | None = None,
    ) -> None:
        # With one worker Keras wraps the data set in a self-tuning tf.data pipeline, and epochs end late.
        # A queue of ten batches of photos would take gigabytes.
        queued = 2 if are_encoded(images) else 10
        keras.utils.PyDataset.__init__(self, workers=2, use_multiprocessing=False, max_queue_size=queued)
        rank, count = shard
        if not 0 <= rank < count:
            raise ValueError(f"Expected shard to be (rank, count) with 0 <= rank < count. Received: shard={shard}")
        if batch_size < 1 or batch_size % count:
            raise ValueError(
                f"Expected batch_size to be a positive multiple of the {count} processes. "
                f"Received: batch_size={batch_size}"
            )
        check_augmentation(augmentation, images, task_of(task))
        brightest = find_brightest(images, preprocessing) if augmentation.recolours else 255
        BatchMaker.__init__(
            self,
            images,
            labels,
            classes,
            preprocessing,
            batch_size,
            task_of(task),
            seed,
            augmentation,
            epochs,
            brightest,
        )
        self.shard = shard
        self.position = (0, start)
        self.failure: Exception | None = None
        self._stream = self._make_stream(processes) if are_encoded(images) else None

    @property
    def position(self) -> tuple[int, int]:
        return self._position

    @position.setter
    def position(self, position: tuple[int, int]) -> None:
        epoch, batch = position
        if epoch < 0 or not 0 <= batch < self.batches_per_epoch:
            raise ValueError(
                f"Expected position to be an epoch and one of its {self.batches_per_epoch} batches, counted from 0. "
                f"Received: position={position}"
            )
        self._position = epoch, batch

    @property
    def epoch(self) -> int:
        return self._position[0]

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.position = (epoch, 0)

    def __len__(self) -> int:
        return self.batches_per_epoch - self.position[1]

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        epoch, start = self.position
        return self.batch(epoch, start + index)

    def batch(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Makes a batch, or this process's slice of it, from the seed and two integers."""
        try:
            made = self._stream.batch(epoch, index) if self._stream else self.make(epoch, index, self.shard)
        except Exception as error:
            self.failure = error
            raise
        return to_data_format(made[0]), made[1]

    def close(self) -> None:
        """Ends the worker processes, if there are any. They also end with this object and with this process."""
        if self._stream:
            self._stream.close()

    def _make_stream(self, processes: int | None) -> WorkerStream | None:
        count = count_workers() if processes is None else processes
        if not count:
            return None
        # Without what needs Keras.
        maker = BatchMaker(**{field.name: getattr(self, field.name) for field in fields(BatchMaker)})
        return WorkerStream(maker, self.shard, count)


@contextmanager
def raise_failures(*several: Batches) -> Iterator[None]:
    """Raises the error of a batch itself instead of the backend's error, which quotes it with a traceback."""
    try:
        yield
    except Exception as error:
        for batches in several:
            if batches.failure not in (None, error):
                raise batches.failure from None
        raise


def batches_of(
    source: Source,
    part: str,
    preprocessing: Preprocessing,
    batch_size: int,
    limit: int | None = None,
    **options: Any,
) -> Batches:
    """Batches a part of a source, or its first examples; `options` are those of `Batches`."""
    inputs, targets = (first_rows(getattr(source, f"{part}_{kind}"), limit) for kind in ("inputs", "targets"))
    return Batches(inputs, targets, source.outputs, preprocessing, batch_size, task=source.task, **options)


def to_data_format(inputs: np.ndarray) -> np.ndarray:
    """Moves the channels, which are last, to where `keras.config.image_data_format()` has them."""
    first = keras.config.image_data_format() == "channels_first" and inputs.ndim > 2
    return np.moveaxis(inputs, -1, 1) if first else inputs
