"""What runs onnxruntime in a process of its own; `_isolated.py` is the other side.

A job is a folder with `job.json` and arrays. Each answer appears whole, under its own name, or not at all, so that the
other side knows what had been done when the process died.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from ._arrays import read_batches, write_batches
from .errors import ExportError

ANSWER, JOB, INPUTS, FAILURE = "answer", "job.json", "inputs", "failure.json"


def main(folder: str) -> None:
    """Does the job of a folder; an error that has a sentence is an answer too."""
    here = Path(folder)
    job = json.loads((here / JOB).read_text(encoding="utf-8"))
    try:
        for number, task in enumerate(job["tasks"]):
            _TASKS[task["do"]](here, here / f"{ANSWER}-{number}", **task["arguments"])
    except ExportError as error:
        failure = {"error": type(error).__name__, "message": str(error), "task": number}
        (here / FAILURE).write_text(json.dumps(failure), encoding="utf-8")


def _run(here: Path, answer: Path, model: str, provider: str, optimise: bool) -> None:
    """Runs every batch."""
    from ._sessions import open_session, run_session

    session = open_session(Path(model), optimise=optimise, provider=provider)
    batches = read_batches(here / INPUTS)
    write_batches(answer, {name: run_session(session, batch) for name, batch in batches.items()})


_TASKS: dict[str, Callable[..., None]] = {"run": _run}


if __name__ == "__main__":
    main(sys.argv[1])
