"""The code that runs in a process of its own, which `processes.py` starts.

A job is a folder with `job.json` and arrays. Each answer appears whole, under its own name, or not at all, so that
`processes.py` knows which tasks were done when the process died.

The function of a task takes the folder, the path of its answer, and its own arguments. Only this process imports its
module, because onnxruntime and its tools log and change sys.path.
"""

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import ExportError

ANSWER, JOB, INPUTS, FAILURE = "answer", "job.json", "inputs", "failure.json"
# Each task is a module in this package and a function in it.
RUN, TENSORS, PROFILE, RACE = (f"runtime.jobs:{name}" for name in ("run", "show_tensors", "profile", "race"))
TO_FP16, TO_INT8, TO_INT8_DYNAMIC, TO_INT4 = (
    f"precision.jobs:{name}"
    for name in ("convert_to_fp16", "quantise_to_int8", "quantise_to_int8_dynamic", "quantise_to_int4")
)
_PACKAGE = __package__.rpartition(".")[0]


def main(folder: str) -> None:
    """Does the tasks in a folder, and writes an ExportError as the answer."""
    here = Path(folder)
    job = json.loads((here / JOB).read_text(encoding="utf-8"))
    try:
        for number, task in enumerate(job["tasks"]):
            perform(here, number, task["do"], task["arguments"])
    except ExportError as error:
        failure = {"error": type(error).__name__, "message": str(error)}
        (here / FAILURE).write_text(json.dumps(failure), encoding="utf-8")


def perform(here: Path, number: int, do: str, arguments: Mapping[str, Any]) -> None:
    """Does one task, and writes its answer under its number."""
    module, function = do.split(":")
    getattr(import_module(f"{_PACKAGE}.{module}"), function)(here, here / f"{ANSWER}-{number}", **arguments)
