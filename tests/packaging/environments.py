"""Virtual environments that hold our wheel, and of the packages installed for the tests only those that are named."""

import os
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement


class Environment(NamedTuple):
    scripts: Path
    site: Path


def run(*command: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(command, cwd=cwd, env={**environment, **env}, capture_output=True, text=True)


def create_environment(folder: Path, wheel: Path) -> Environment:
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    environment = Environment(Path(paths["scripts"]), Path(paths["purelib"]))
    python = environment.scripts / "python"
    # Python compiles what it imports anyway.
    options = ["--no-deps", "--no-index", "--no-compile"]
    command = [sys.executable, "-m", "pip", "--python", python, "install", *options, wheel]
    result = run(*command, cwd=folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return environment


def add_packages(environment: Environment, requirements: list[str]) -> None:
    """Links these packages, and whatever they require, from the environment that runs the tests."""
    for name in resolve(requirements):
        installed = distribution(name)
        for file in installed.files or ():
            link = environment.site / file
            if ".." not in file.parts and not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(installed.locate_file(file))


def resolve(requirements: list[str]) -> set[str]:
    found: set[str] = set()
    left = [Requirement(line) for line in requirements]
    while left:
        wanted = left.pop()
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            name = provider(wanted.name)
            if name not in found:
                found.add(name)
                left += map(Requirement, distribution(name).requires or ())
    return found


def provider(name: str) -> str:
    """The distribution that is installed here: onnxruntime for GPUs has the same modules under another name."""
    try:
        distribution(name)
    except PackageNotFoundError:
        if name == "onnxruntime":
            return "onnxruntime-gpu"
        raise
    return name
