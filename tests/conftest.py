"""What must be settled before any test imports Keras: quiet start-up, threads and memory, the seed."""

import os
import subprocess
import sys
import warnings

import pytest

from tests.processes import QUICK_JAX

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

# Parallel workers share the cores among them: more threads than that only wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")

if os.environ.get("KERAS_BACKEND") == "jax":
    for name, value in QUICK_JAX.items():
        os.environ.setdefault(name, value)


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Make every test repeatable on its own and in any order, without importing Keras for those that do without it."""
    keras = sys.modules.get("keras")
    if keras is not None:
        keras.utils.set_random_seed(0)


@pytest.fixture
def keras_skip_here(monkeypatch, capfd):
    """As `tests.processes.keras_skip`, but in this process, which has imported everything already."""

    def run(*arguments, cwd, expect=0, **environment):
        from zoo.cli import main

        capfd.readouterr()
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.chdir(cwd)
            patch.setattr(warnings, "formatwarning", warnings.formatwarning)  # which the command changes
            patch.setattr(sys, "argv", ["keras-skip", *map(str, arguments)])
            for name, value in {"COLUMNS": "160", **environment}.items():
                patch.setenv(name, value)
            main()
        done = subprocess.CompletedProcess(arguments, ended.value.code or 0, *capfd.readouterr())
        assert done.returncode == expect, done.stderr
        return done

    return run
