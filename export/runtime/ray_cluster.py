"""A cluster of Ray that starts here: only this machine can reach it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def bind_to_localhost() -> Iterator[None]:
    """Makes a cluster that starts meanwhile listen only to this machine, as it always does on macOS and Windows."""
    from ray._private import ray_constants

    name = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    before = ray_constants.ENABLE_RAY_CLUSTER, os.environ.get(name)
    ray_constants.ENABLE_RAY_CLUSTER, os.environ[name] = False, "0"
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before[0]
        os.environ.pop(name)
        if before[1] is not None:
            os.environ[name] = before[1]
