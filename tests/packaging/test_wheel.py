"""The wheel and the source distribution: what is in them, and that the wheel works away from the checkout."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("keras_skip", "zoo", "export")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
DIST_INFO = f"keras_skip-{VERSION}.dist-info"


def run(*command: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(command, cwd=cwd, env={**environment, **env}, capture_output=True, text=True)


def build_folders() -> set[str]:
    return {path.name for pattern in ("build", "dist", "*.egg-info") for path in ROOT.glob(pattern)}


@pytest.fixture(scope="module")
def dist(tmp_path_factory) -> Path:
    """Both distributions, the wheel built from the source distribution: it must be complete enough for that."""
    out = tmp_path_factory.mktemp("dist")
    before = build_folders()
    result = run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    assert result.returncode == 0, result.stdout + result.stderr
    assert build_folders() == before
    return out


@pytest.fixture(scope="module")
def wheel(dist) -> Path:
    (path,) = dist.glob("keras_skip-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The bin folder of a new environment that holds this wheel and sees the dependencies installed for the tests.

    A path in a .pth file is searched after the environment's own packages, and the .pth files there, an editable
    installation's among them, are not read.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    scripts, site = Path(paths["scripts"]), Path(paths["purelib"])
    dependencies = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    (site / "dependencies.pth").write_text("\n".join(dependencies) + "\n")
    command = [sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--no-deps", "--no-index", wheel]
    result = run(*command, cwd=folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return scripts


@pytest.fixture
def users_folder(tmp_path) -> Path:
    """A folder with modules of the user's own, whose names are those of two of our packages."""
    for name in ("export", "zoo"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('the user has a {name} of their own')\n")
    return tmp_path


def test_wheel_holds_the_three_packages_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = [PurePosixPath(name) for name in archive.namelist()]
    assert {name.parts[0] for name in names} == {*PACKAGES, DIST_INFO}
    for package in PACKAGES:
        sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.py")}
        assert sources | {f"{package}/py.typed"} <= {str(name) for name in names}


def test_wheel_states_licence_python_and_entry_point(wheel):
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"{DIST_INFO}/METADATA").decode().splitlines()
        scripts = archive.read(f"{DIST_INFO}/entry_points.txt").decode()
        assert f"{DIST_INFO}/licenses/LICENSE" in archive.namelist()
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Python: >=3.11" in metadata
    assert "keras-skip = zoo.cli:main" in scripts


def test_source_distribution_holds_what_is_needed_to_test_it(dist):
    (path,) = dist.glob("keras_skip-*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "Makefile",
        "constraints.txt",
        "tests/conftest.py",
    }
    assert wanted <= names
    assert {name for name in names if name.startswith((".venv", "runs", "dist"))} == set()


def test_installed_wheel_is_what_is_imported(installed, users_folder):
    code = "import export, keras_skip, zoo; print(export.__file__, keras_skip.__file__, zoo.__file__, sep='\\n')"
    result = run(installed / "python", "-I", "-c", code, cwd=users_folder, TF_CPP_MIN_LOG_LEVEL="3")
    assert result.returncode == 0, result.stderr
    environment = installed.parent
    assert [Path(line).is_relative_to(environment) for line in result.stdout.splitlines()] == [True] * 3


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["describe", "resnet20"], ["export", "--help"]])
def test_console_script_works_beside_a_users_own_zoo_and_export(installed, users_folder, arguments):
    result = run(installed / "keras-skip", *arguments, cwd=users_folder)
    assert result.returncode == 0, result.stdout + result.stderr
    wanted = "resnet20" if arguments[0] in ("list", "describe") else "Usage"
    assert wanted in result.stdout


def test_a_users_own_zoo_does_stand_in_the_way_of_python_c(installed, users_folder):
    result = run(installed / "python", "-c", "import zoo", cwd=users_folder)
    assert "the user has a zoo of their own" in result.stderr
