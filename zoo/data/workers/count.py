"""Counts the worker processes that make the batches of photos."""

import os
from importlib.util import find_spec
from multiprocessing import current_process

# 0: this process makes them, in threads.
WORKERS = "KERAS_SKIP_WORKERS"


def count_workers() -> int:
    """The number of workers that the environment asks for; by default one for each core that this process may use,
    or none without grain, which has no wheel for every platform, and in a daemonic process, which may have no children.

    Processes that train together on one host share its cores.

    Raises:
        ValueError: If KERAS_SKIP_WORKERS is not a whole number of at least 0.
    """
    if given := os.environ.get(WORKERS, "").strip():
        if not given.isdecimal():
            raise ValueError(f"Expected {WORKERS} to be a whole number of at least 0. Received: {WORKERS}={given}")
        return int(given)
    if find_spec("grain") is None or current_process().daemon:
        return 0
    from joblib import cpu_count

    # joblib respects the affinity of the process and the limits of its container.
    return max(1, cpu_count() // _processes_here())


def _processes_here() -> int:
    """How many of the processes that train together are on this host, as far as the environment says."""
    from ...devices.hosts import ADDRESSES, RANK

    hosts = [address.rpartition(":")[0] for address in os.environ.get(ADDRESSES, "").split(",")]
    rank = os.environ.get(RANK, "").strip()
    return hosts.count(hosts[int(rank)]) if rank.isdecimal() and int(rank) < len(hosts) else 1
