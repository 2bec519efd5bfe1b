"""Defines targets: the format of a runtime, with the functions that write and run its files."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from ..errors import ExportError
from ..runtime.processes import run_tasks
from ..runtime.worker import ANSWER
from ..storage.arrays import Batch, read_batches
from ..storage.manifest import ONNX, SAVED_MODEL

Compute = Callable[[Batch], Batch]
# The files of the formats from which targets are made.
SOURCES = {"onnx": ONNX, "saved_model": SAVED_MODEL}
# The tasks of the worker.
CONVERT, RUN = "targets.jobs:convert", "targets.jobs:run"


class Unavailable(ExportError):
    """This machine lacks what makes or runs a target; the message says what."""


@dataclass(frozen=True)
class Target:
    """A target.

    Attributes:
        name: Its name in arguments and in artifact.json.
        title: Its name in proofs and error messages.
        file: Its main file in an artifact.
        source: The format that it is made from: "onnx" or "saved_model".
        require: Returns the runtime and its version, or raises `Unavailable` if what makes the target is missing.
        build: Writes the files, given the folder of the artifact and the path of the main file.
        run: Runs the main file on batches. Raises `Unavailable` if it cannot run here, and ExportError if it fails.
        convert: Writes the main file from its source, inside the worker; None if `build` needs no worker.
        open: Opens the main file in this process; None if the target cannot run in Python.
    """

    name: str
    title: str
    file: str
    source: str
    require: Callable[[], str]
    build: Callable[[Path, Path], None]
    run: Callable[[Path, Mapping[str, Batch]], dict[str, Batch]]
    convert: Callable[[Path, Path], None] | None = None
    open: Callable[[Path], Compute] | None = None

    def owns(self, file: str) -> bool:
        """Whether a file of an artifact belongs to this target."""
        folder = self.file.rpartition("/")[0]
        return file.startswith(f"{folder}/") if folder else file == self.file


@dataclass(frozen=True)
class Library:
    """The functions of a target whose runtime is a Python package. They run in the worker, which a crash may end.

    Attributes:
        name: The target.
        title: Its name in error messages.
        source: The format that it is made from.
        package: The module to import.
        distribution: Its name on PyPI.
    """

    name: str
    title: str
    source: str
    package: str
    distribution: str

    def require(self) -> str:
        """Returns the runtime with its version."""
        self._check_installed()
        return f"{self.distribution} {metadata.version(self.distribution)}"

    def _check_installed(self) -> None:
        if find_spec(self.package) is None:
            raise Unavailable(
                f"The target {self.name} needs {self.distribution}, which is not installed: "
                f"pip install {self.distribution}"
            )

    def build(self, artifact: Path, path: Path) -> None:
        """Converts the source in an artifact."""
        arguments = {"target": self.name, "source": str(artifact / SOURCES[self.source]), "path": str(path)}
        with tempfile.TemporaryDirectory(prefix="keras-skip-") as folder:
            run_tasks(Path(folder), [(CONVERT, arguments)], [f"converting to {self.title}"])

    def run(self, path: Path, batches: Mapping[str, Batch]) -> dict[str, Batch]:
        """Runs the file on batches."""
        self._check_installed()
        with tempfile.TemporaryDirectory(prefix="keras-skip-") as folder:
            task = (RUN, {"target": self.name, "path": str(path)})
            run_tasks(Path(folder), [task], [f"running {self.title}"], batches)
            return read_batches(Path(folder) / f"{ANSWER}-0")


def make_target(
    library: Library,
    file: str,
    convert: Callable[[Path, Path], None],
    open: Callable[[Path], Compute],
    require: Callable[[], str] | None = None,
) -> Target:
    """Makes the target of a library."""
    return Target(
        library.name,
        library.title,
        file,
        library.source,
        require or library.require,
        library.build,
        library.run,
        convert,
        open,
    )
