import sys
from pathlib import Path

import pytest

from tests.packaging.environments import run

ROOT = Path(__file__).parents[2]


def build_folders() -> set[str]:
    return {path.name for pattern in ("build", "dist", "*.egg-info") for path in ROOT.glob(pattern)}


@pytest.fixture(scope="session")
def dist(tmp_path_factory) -> Path:
    """Both distributions, the wheel built from the source distribution: it must be complete enough for that."""
    out = tmp_path_factory.mktemp("dist")
    before = build_folders()
    result = run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    assert result.returncode == 0, result.stdout + result.stderr
    assert build_folders() == before
    return out


@pytest.fixture(scope="session")
def wheel(dist) -> Path:
    (path,) = dist.glob("keras_skip-*.whl")
    return path
