"""Computes on Ray: one task reads the inputs, and actors that each hold a session compute, as a Ray Data pipeline.

A block is a group of inputs, so that batches are the same as without Ray, and the order of the blocks is kept. Ray
starts an actor again that dies, and gives its groups to others. Rows are written by the process that began.
"""

import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ExportError
from ..runtime.providers import takes_gpu
from ..runtime.ray_cluster import bind_to_localhost
from .computing import Groups, Output, load_group, run_group
from .inputs import Input
from .network import ArtifactNetwork, Network

if TYPE_CHECKING:
    import pyarrow

# The only column of a block, in which Python's objects travel.
_COLUMN = "pickled"


def compute_on_ray(
    network: Network, address: str
) -> Callable[[Groups], Iterator[tuple[Sequence[Input], list[Output]]]]:
    """Makes a function that computes the outputs of groups of inputs on Ray.

    Args:
        network: An artifact, whose folder every machine of the cluster has under the same path.
        address: The cluster: "auto" finds a running one, "local" starts one on this machine.

    Raises:
        ValueError: If the network is not an artifact, or Ray is not installed.
    """
    if not isinstance(network, ArtifactNetwork):
        raise ValueError("Expected an artifact to compute on Ray. Received: a run; export it first")
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise ValueError(f"Expected Ray Data to be installed: pip install 'ray[data]'. Received: {error}") from None

    def compute(groups: Groups) -> Iterator[tuple[Sequence[Input], list[Output]]]:
        with _cluster(address):
            for block in _make_dataset(groups, network).iter_batches(batch_size=1, batch_format="pyarrow"):
                yield _unpack(block)

    return compute


@contextmanager
def _cluster(address: str) -> Iterator[None]:
    """Joins a cluster, or starts one, unless the caller has done so."""
    import ray

    if ray.is_initialized():
        yield
        return
    # Ray reports usage only if the user says so.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        with bind_to_localhost() if address == "local" else nullcontext():
            ray.init(address, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # Ray's exceptions have no common base.
        raise ExportError(f"Ray does not start: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _make_dataset(groups: Groups, network: ArtifactNetwork) -> Any:
    import ray
    from ray.data import ActorPoolStrategy

    on_gpu = takes_gpu(network.device)
    count = int(ray.cluster_resources().get("GPU" if on_gpu else "CPU", 0))
    if count == 0:
        raise ExportError(f"Expected a cluster with {'GPUs' if on_gpu else 'CPUs'}. Received: one without")
    with _settings():
        dataset = ray.data.read_datasource(_make_source(groups), override_num_blocks=1, num_cpus=0)
        return dataset.map_batches(
            _Worker,
            fn_constructor_args=(network,),
            batch_size=1,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=count),
            num_cpus=0 if on_gpu else 1,
            num_gpus=1 if on_gpu else None,
        )


@contextmanager
def _settings() -> Iterator[None]:
    """Gives data sets that are made meanwhile the settings that they need, and the others their own."""
    from ray.data import DataContext

    context = DataContext.get_current()
    before = context.target_max_block_size, context.enable_progress_bars, context.execution_options.preserve_order
    # Ray would collect groups into blocks of 128 MB.
    context.target_max_block_size, context.enable_progress_bars = 1, False
    context.execution_options.preserve_order = True
    try:
        yield
    finally:
        context.target_max_block_size, context.enable_progress_bars, context.execution_options.preserve_order = before


def _make_source(groups: Groups) -> Any:
    from ray.data import Datasource, ReadTask
    from ray.data.block import BlockMetadata

    class Source(Datasource):
        """One task on this machine, which has the files, that reads all groups."""

        supports_distributed_reads = False

        def estimate_inmemory_data_size(self) -> None:
            return None

        def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[Any]:
            unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
            return [ReadTask(partial(_read, groups, os.getcwd()), unknown)]

    return Source()


def _read(groups: Groups, folder: str) -> "Iterator[pyarrow.Table]":
    """Reads files, from paths relative to a folder, so that workers need not have them."""
    os.chdir(folder)
    for group in groups:
        yield _pack([_with_contents(given) for given in group])


def _with_contents(given: Input) -> Input:
    try:
        return replace(given, data=given.data.read_bytes()) if isinstance(given.data, Path) else given
    except OSError as error:
        return replace(given, data=None, reason=error.strerror or str(error))


class _Worker:
    """An actor's work on a group."""

    def __init__(self, network: ArtifactNetwork) -> None:
        self._network = network

    def __call__(self, block: "pyarrow.Table") -> "pyarrow.Table":
        group = _unpack(block)
        outputs = run_group(self._network, load_group(self._network, group))
        return _pack(([replace(given, data=None) for given in group], outputs))


def _pack(values: Any) -> "pyarrow.Table":
    import pyarrow

    return pyarrow.table({_COLUMN: pyarrow.array([pickle.dumps(values)], pyarrow.large_binary())})


def _unpack(block: "pyarrow.Table") -> Any:
    return pickle.loads(block[_COLUMN][0].as_py())
