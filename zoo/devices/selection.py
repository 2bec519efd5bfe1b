"""Selects the CPU or GPUs of this process, one or several, on each of Keras's backends.

Several devices each compute a part of every batch, and their gradients are combined before a step: on TensorFlow
with `tf.distribute.MirroredStrategy`, on JAX with `keras.distribution.DataParallel`. With several processes, JAX's
devices are those of all of them; see `hosts.py`.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras

from .._names import unknown
from ..data import Batches
from .environment import processor
from .hosts import Hosts, join
from .padding import PaddedBatches, distribute

if TYPE_CHECKING:
    import tensorflow as tf

KINDS = ("auto", "cpu", "gpu")


@dataclass(frozen=True)
class Devices:
    """The devices of a training.

    Attributes:
        backend: Keras's backend.
        kind: "cpu", "gpu", or another kind that the backend has found.
        ids: The backend's names of the devices of this process.
        names: Their models, as far as they are known.
        memory: The bytes of memory of each, if known.
        hosts: The processes that train together.
        enter: Enters the context in which a network is built and trained.
    """

    backend: str
    kind: str
    ids: tuple[str, ...]
    names: tuple[str, ...]
    memory: tuple[int, ...]
    hosts: Hosts
    enter: Callable[[], AbstractContextManager]

    @property
    def count(self) -> int:
        """How many devices all processes have together."""
        return len(self.ids) * self.hosts.count

    def report(self) -> dict[str, Any]:
        """Describes the devices for the record of a run, as plain data with None for unknown figures."""
        driver, cuda = _driver_and_cuda(self.backend) if self.kind == "gpu" else (None, None)
        return {
            "backend": self.backend,
            "kind": self.kind,
            "count": self.count,
            "processes": self.hosts.count,
            "names": list(self.names),
            "memory_bytes": list(self.memory) or None,
            "driver": driver,
            "cuda": cuda,
        }

    def check(self, batch_size: int, accumulate: int = 1) -> None:
        """Checks that the devices can share each batch evenly, or each of the parts in which it is computed.

        Raises:
            ValueError: If the batch size is not a multiple of the number of devices times the number of parts.
        """
        if batch_size % (self.count * accumulate):
            sharing = f"the {self.count} devices that share each batch" if self.count > 1 else ""
            parts = f"accumulate={accumulate}" if accumulate > 1 else ""
            raise ValueError(
                f"Expected batch_size to be a multiple of {', times '.join(filter(None, (sharing, parts)))}. "
                f"Received: batch_size={batch_size}"
            )

    def round_up(self, batch_size: int) -> int:
        """Rounds a batch size up to a multiple of the number of devices."""
        return -(-batch_size // self.count) * self.count

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Enters the context in which a network is built, compiled and trained on these devices."""
        with self.hosts.explain_failures(), self.enter():
            yield

    def feed(
        self, batches: Batches, accumulate: int = 1
    ) -> "Batches | PaddedBatches | tf.distribute.DistributedDataset":
        """Prepares batches for `fit` and `evaluate`; each device, and each of several parts, gets as much.

        These batches come with weights, which only `weighted_metrics` use; see `PaddedBatches`. Call it in `scope`.
        """
        if self.count * accumulate == 1:
            return batches
        shares = PaddedBatches(batches, self.count * accumulate)
        return distribute(shares) if self.count > 1 and self.backend == "tensorflow" else shares


def select(device: str = "auto", count: int = 1) -> Devices:
    """Selects the devices for a training.

    Call it before anything is computed, because no backend releases a GPU that it has taken. On JAX it joins the
    processes that the environment names.

    Args:
        device: "cpu", which leaves every GPU alone; "gpu"; or "auto", the backend's own choice.
        count: Number of devices of this process. On a CPU more than one are virtual: they show that a training on
            several devices works, and save no time.

    Raises:
        ValueError: If there are too few such devices, or if this process has already taken others.

    Example:

    >>> from zoo.devices.selection import select
    >>> select("cpu").report()["count"]
    1
    """
    if device not in KINDS:
        raise unknown("device", device, KINDS)
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ValueError(f"Expected devices to be a whole number of at least 1. Received: devices={count!r}")
    finders = {"jax": _select_on_jax, "tensorflow": _select_on_tensorflow, "torch": _select_on_torch}
    backend = keras.backend.backend()
    if backend not in finders:
        raise unknown("the backend that Keras trains on", backend, finders)
    return finders[backend](device, count)


def select_recorded(report: Mapping[str, Any] | None, device: str | None = None, count: int | None = None) -> Devices:
    """Selects the kind and number of devices in a run's record, unless another kind or number is given.

    Raises:
        ValueError: If there are no such devices.
    """
    kind, number = (report["kind"], report["count"] // report["processes"]) if report else ("auto", 1)
    return select(device or (kind if kind in KINDS else "auto"), number if count is None else count)


def _select_on_tensorflow(device: str, count: int) -> Devices:
    import tensorflow as tf

    hosts = join("tensorflow")
    if device == "cpu":
        try:
            tf.config.set_visible_devices([], "GPU")
        except RuntimeError as error:
            raise _too_late_error("cpu") from error
    gpus = tf.config.get_visible_devices("GPU")
    if device == "gpu" and not gpus:
        raise _no_gpu_error(f"TensorFlow {tf.__version__}", 'pip install ".[cuda]" in a checkout of keras-skip')
    for gpu in gpus:
        # If something was computed before, TensorFlow has taken all the memory and keeps it.
        with suppress(RuntimeError):
            tf.config.experimental.set_memory_growth(gpu, True)
    kind = "gpu" if gpus else "cpu"
    found = [logical.name for logical in tf.config.list_logical_devices(kind.upper())]
    ids = _take(found, count, kind)
    names, memory = _processor()
    if gpus:
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus[:count]]
        names, memory = tuple(item.get("device_name", "GPU") for item in details), ()
    # For one device TensorFlow itself chooses the first GPU, or the CPU.
    enter = tf.distribute.MirroredStrategy(list(ids)).scope if count > 1 else nullcontext
    return Devices("tensorflow", kind, ids, names, memory, hosts, enter)


def _select_on_jax(device: str, count: int) -> Devices:
    import jax

    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    hosts = join("jax")
    kind = jax.default_backend()
    if device == "cpu" and kind != "cpu":
        raise _too_late_error("cpu")
    if device == "gpu" and kind != "gpu":
        raise _no_gpu_error(f"JAX {jax.__version__}", 'pip install ".[jax-cuda]" in a checkout of keras-skip')
    local = jax.local_devices()
    ids = _take([f"{item.platform}:{item.id}" for item in local], count, kind)
    names, memory = _processor()
    if kind != "cpu":
        limits = [(item.memory_stats() or {}).get("bytes_limit", 0) for item in local[:count]]
        names, memory = tuple(item.device_kind for item in local[:count]), tuple(filter(None, limits))

    if count * hosts.count == 1:
        return Devices("jax", kind, ids, names, memory, hosts, nullcontext)
    by_process: dict[int, list[str]] = {}
    for item in jax.devices():
        by_process.setdefault(item.process_index, []).append(f"{item.platform}:{item.id}")
    all_ids = [device_id for process in sorted(by_process) for device_id in by_process[process][:count]]
    # Each process reads its own slice, and Keras would refuse to shard a PyDataset.
    distribution = keras.distribution.DataParallel(devices=all_ids, auto_shard_dataset=False)
    return Devices("jax", kind, ids, names, memory, hosts, distribution.scope)


def _select_on_torch(device: str, count: int) -> Devices:
    import torch

    hosts = join("torch")
    if device == "gpu" and not torch.cuda.is_available():
        raise _no_gpu_error(f"torch {torch.__version__}", "a build of torch for CUDA, see https://pytorch.org")
    if count > 1:
        raise ValueError(
            f"Expected devices=1 on the torch backend; several need TensorFlow or JAX. Received: devices={count}"
        )

    def enter() -> AbstractContextManager:
        return nullcontext() if device == "auto" else keras.device(device)

    with enter():
        used = keras.ops.zeros(()).device
    kind = {"cuda": "gpu"}.get(used.type, used.type)
    names, memory = _processor()
    if kind == "gpu":
        properties = torch.cuda.get_device_properties(used)
        names, memory = (properties.name,), (properties.total_memory,)
    return Devices("torch", kind, (str(used),), names, memory, hosts, enter)


def _take(found: list[str], count: int, kind: str) -> tuple[str, ...]:
    if len(found) < count:
        raise ValueError(f"Expected {count} devices of kind {kind}. Received: {len(found)}, {', '.join(found)}")
    return tuple(found[:count])


def _too_late_error(device: str) -> ValueError:
    return ValueError(
        f"Devices must be selected before anything is computed. Received: device={device!r}, "
        "after this process has taken its GPUs"
    )


def _no_gpu_error(backend: str, cure: str) -> ValueError:
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    why = "" if hidden is None else f", with CUDA_VISIBLE_DEVICES={hidden!r}"
    return ValueError(
        f"Expected a GPU for device='gpu'. Received: none that {backend} can use{why}. On Linux: {cure}; "
        "nvidia-smi shows whether the driver sees the GPU"
    )


def _processor() -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The name and the memory of the CPU."""
    name = processor()
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return (name,), ()
    return (name,), (memory,)


def _driver_and_cuda(backend: str) -> tuple[str | None, str | None]:
    """The versions of NVIDIA's driver and of the CUDA that the backend was built with."""
    cuda = None
    if backend == "tensorflow":
        import tensorflow as tf

        cuda = tf.sysconfig.get_build_info().get("cuda_version")
    elif backend == "torch":
        import torch

        cuda = torch.version.cuda
    program = shutil.which("nvidia-smi")
    if program is None:
        return None, cuda
    asked = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None, cuda
    return next(iter(answer.split()), None), cuda
