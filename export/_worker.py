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


def _tensors(here: Path, answer: Path, model: str, provider: str, optimise: bool) -> None:
    """Runs the first batch and gives every tensor that the graph, or what onnxruntime made of it, has a name for."""
    import onnx
    import onnxruntime

    from ._sessions import open_session, run_session

    source = Path(model)
    if optimise:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(here / "optimised.onnx")
        open_session(source, provider=provider, options=options)
        source = here / "optimised.onnx"
    graph = onnx.load(source)
    names = {value.name for value in graph.graph.output}
    made = [name for node in graph.graph.node for name in node.output if name and name not in names]
    graph.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in made)
    onnx.save(graph, here / "open.onnx")
    session = open_session(here / "open.onnx", optimise=False, provider=provider)
    (batch,) = read_batches(here / INPUTS).values()
    write_batches(answer, {"": run_session(session, batch)})


RUN, TENSORS = "run", "tensors"
_TASKS: dict[str, Callable[..., None]] = {RUN: _run, TENSORS: _tensors}


if __name__ == "__main__":
    main(sys.argv[1])
