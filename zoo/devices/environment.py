"""Records and restores everything but the recipe that changes the bits of a result: backend, threads, versions.

Keras is imported only where it is needed, because the command line first sets the backend and threads of a resumed run.
"""

import os
import platform
import re
import subprocess
import sys
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

BACKENDS = ("tensorflow", "jax", "torch")
# XLA_FLAGS can have XLA write files.
_PATHS = re.compile(r"dump|dir|file|path|_from|_to\b|[/\\]")
# The variables that the libraries read when they start.
VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_DETERMINISTIC_OPS",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "XLA_FLAGS",
)


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that compute."""
    import keras

    found = {"python": platform.python_version()}
    for package in ("keras-skip", "keras", keras.backend.backend(), "numpy", "scikit-learn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def revision() -> str | None:
    """The git revision of this package, marked "-dirty" if files have changed; None outside a checkout."""
    here = Path(__file__)
    tracked = ["git", "ls-files", "--error-unmatch", here.name]
    described = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        for command in (tracked, described):
            answer = subprocess.run(command, cwd=here.parent, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def environment() -> dict[str, Any]:
    """Records what decides the last bits of a result on one machine, as plain data."""
    import keras

    backend = keras.backend.backend()
    return {
        "backend": backend,
        "cores": _cores(),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        **(_tensorflow_settings() if backend == "tensorflow" else {}),
    }


def restore_environment(recorded: Mapping[str, Any]) -> None:
    """Restores the environment in a run's record as far as possible, and warns of differences.

    A record may come from somebody else, so it only changes `VARIABLES`, and only to values that name no path.

    Raises:
        ValueError: If Keras was imported with another backend, or if the record names an unknown one.
    """
    backend = recorded.get("backend")
    if backend not in BACKENDS:
        raise ValueError(f"Expected the record of a run on {', '.join(BACKENDS)}. Received: {backend!r}")
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = backend
        for name in VARIABLES:
            os.environ.pop(name, None)
        os.environ.update(_safe_variables(recorded.get("variables")))
        return
    import keras

    if keras.backend.backend() != backend:
        raise ValueError(
            f"Expected KERAS_BACKEND={backend}, as when the run began. "
            f"Received: KERAS_BACKEND={keras.backend.backend()}"
        )
    if recorded.get("deterministic"):
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    now = environment()
    different = [name for name in now if name in recorded and recorded[name] != now[name]]
    if different:
        were = ", ".join(f"{name}={recorded[name]!r} (now {now[name]!r})" for name in different)
        warnings.warn(f"The run began with {were}, so the last bits of its results may change", stacklevel=2)


def _safe_variables(recorded: object) -> dict[str, str]:
    """Selects the recorded variables that may be set, without values that name a file or folder."""
    found = recorded if isinstance(recorded, Mapping) else {}
    taken = {
        name: value
        for name, value in found.items()
        if name in VARIABLES and isinstance(value, str) and not _PATHS.search(value)
    }
    if left := [str(name) for name in found if name not in taken]:
        warnings.warn(f"The run's record sets {', '.join(left)}, which keras-skip ignores", stacklevel=3)
    return taken


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def processor() -> str:
    """The model of the processor, which Linux states in a file."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()


def process() -> dict[str, str | int]:
    return {"host": platform.node(), "pid": os.getpid()}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tensorflow_settings() -> dict[str, int | bool]:
    import tensorflow as tf
    from tensorflow.python.framework.config import is_op_determinism_enabled

    return {
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads(),
        "deterministic": bool(is_op_determinism_enabled()),
    }
