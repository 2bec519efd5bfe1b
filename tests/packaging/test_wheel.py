"""The wheel and the source distribution: what is in them, and that the wheel works away from the checkout."""

import re
import sysconfig
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from tests.packaging.environments import create_environment, run

ROOT = Path(__file__).parents[2]
PACKAGES = ("keras_skip", "zoo", "export")
(VERSION,) = re.findall('__version__ = "(.+)"', (ROOT / "keras_skip" / "__init__.py").read_text())
DIST_INFO = f"keras_skip-{VERSION}.dist-info"


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The scripts of a new environment that holds this wheel and sees the dependencies installed for the tests.

    A path in a .pth file is searched after the environment's own packages, and the .pth files there, an editable
    installation's among them, are not read.
    """
    environment = create_environment(tmp_path_factory.mktemp("environment"), wheel)
    dependencies = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    (environment.site / "dependencies.pth").write_text("\n".join(dependencies) + "\n")
    return environment.scripts


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
        # lazy_loader reads the public names from the .pyi files.
        paths = [path for pattern in ("*.py", "*.pyi") for path in (ROOT / package).rglob(pattern)]
        sources = {path.relative_to(ROOT).as_posix() for path in paths}
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
        ".pre-commit-config.yaml",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "Makefile",
        "constraints.txt",
        "tests/conftest.py",
    }
    assert wanted <= names
    assert {name for name in names if name.startswith((".venv", "runs", "dist"))} == set()


def test_installed_wheel_is_what_is_imported(installed, users_folder):
    code = "import export, keras_skip, zoo; print(export.__file__, keras_skip.__file__, zoo.__file__, sep='\\n')"
    # Any backend will do, and TensorFlow takes longest to import.
    result = run(installed / "python", "-I", "-c", code, cwd=users_folder, KERAS_BACKEND="jax")
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
