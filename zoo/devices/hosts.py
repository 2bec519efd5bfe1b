"""Joins processes that train one network together, on one host or many, with JAX's distributed runtime."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ..training.interruption import TrainingError

# Keras's own names, so that keras.distribution.initialize reads the same environment.
ADDRESSES = "KERAS_DISTRIBUTION_JOB_ADDRESSES"
COUNT = "KERAS_DISTRIBUTION_NUM_PROCESSES"
RANK = "KERAS_DISTRIBUTION_PROCESS_ID"
# Ours: a process that is silent for so many seconds counts as lost.
HEARTBEAT = "KERAS_SKIP_HEARTBEAT_SECONDS"
DEFAULT_HEARTBEAT = 30


@dataclass(frozen=True)
class Hosts:
    """This process among those that train together; only rank 0 writes files."""

    rank: int = 0
    count: int = 1

    @property
    def shard(self) -> tuple[int, int]:
        """The slice of each batch that this process reads, as `Batches` takes it."""
        return self.rank, self.count

    @property
    def writes(self) -> bool:
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether a flag is set in any process. All processes must call this, and each waits for the others."""
        if self.count == 1:
            return flag
        from jax.experimental.multihost_utils import process_allgather

        return bool(process_allgather(np.array(flag)).any())

    @contextmanager
    def explain_failures(self) -> Iterator[None]:
        """Raises a TrainingError that blames a lost process if a joint computation fails."""
        if self.count == 1:
            yield
            return
        import jax

        try:
            yield
        except (ValueError, jax.errors.JaxRuntimeError) as error:
            if isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in str(error):
                raise TrainingError(
                    f"The {self.count} processes cannot compute together; one may have died: "
                    f"{str(error).splitlines()[0]}"
                ) from error
            raise


def is_first_process() -> bool:
    """Whether this process writes files, as the environment says before the processes are connected."""
    return os.environ.get(RANK, "").strip() in ("", "0")


def join(backend: str) -> Hosts:
    """Joins the processes that the environment names, and waits for all of them.

    The three variables are those of `keras.distribution.initialize`. This calls JAX directly, because Keras notices a
    lost process only after 100 seconds.

    Raises:
        ValueError: If the variables are incomplete or wrong, or the backend is not JAX.
    """
    given = {name: os.environ.get(name) for name in (ADDRESSES, COUNT, RANK)}
    if backend != "jax":
        if given[COUNT] not in (None, "", "1"):
            raise ValueError(
                f"Expected the JAX backend for several processes. Received: {backend}, {COUNT}={given[COUNT]}"
            )
        return Hosts()
    import jax

    if any(given.values()) and not jax.distributed.is_initialized():
        _join(given)
    return Hosts(jax.process_index(), jax.process_count())


def _join(given: dict[str, str | None]) -> None:
    import jax

    missing = [name for name, value in given.items() if not value]
    if missing:
        raise ValueError(f"Expected all of {', '.join(given)}. Received: no {', '.join(missing)}")
    addresses = str(given[ADDRESSES]).split(",")
    count, rank = _parse_whole(COUNT, given[COUNT], 1), _parse_whole(RANK, given[RANK], 0)
    if rank >= count or len(addresses) not in (1, count) or ":" not in addresses[0]:
        raise ValueError(
            f"Expected {RANK} below {COUNT}, and in {ADDRESSES} host:port of process 0 or of every process. "
            f"Received: {', '.join(f'{name}={value}' for name, value in given.items())}"
        )
    # Without it CPUs cannot communicate; it is the default in newer versions of JAX.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    heartbeat = _parse_whole(HEARTBEAT, os.environ.get(HEARTBEAT, str(DEFAULT_HEARTBEAT)), 1)
    jax.distributed.initialize(
        addresses[0],
        count,
        rank,
        # Where JAX finds Slurm, it would show each process a single GPU.
        cluster_detection_method="deactivate",
        heartbeat_timeout_seconds=heartbeat,
    )


def _parse_whole(name: str, value: str | None, least: int) -> int:
    text = str(value).strip()
    if not text.isdecimal() or int(text) < least:
        raise ValueError(f"Expected {name} to be a whole number of at least {least}. Received: {name}={value}")
    return int(text)
