"""The tasks of a process of its own: running a model, showing every tensor, profiling and racing."""

import bisect
import json
import math
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..storage.arrays import Batch, read_batches, write_batches
from ..storage.onnx_files import data_path, save_model
from .providers import Device
from .sessions import open_session, run_session
from .worker import INPUTS

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_WARM_UP, _LEAST_ROUNDS, _MOST_ROUNDS, _RACE_SECONDS = 2, 5, 50, 5


def run(here: Path, answer: Path, model: str, device: Device, optimise: bool) -> None:
    """Runs every batch."""
    session = open_session(Path(model), optimise=optimise, device=device)
    batches = read_batches(here / INPUTS)
    write_batches(answer, {name: run_session(session, batch) for name, batch in batches.items()})


def show_tensors(here: Path, answer: Path, model: str, device: Device, optimise: bool) -> None:
    """Runs the first batch and writes every named tensor of the graph, or of the optimised graph."""
    import onnx
    import onnxruntime

    source = Path(model)
    if optimise:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(here / "optimised.onnx")
        if data_path(source).exists():
            options.add_session_config_entry(
                "session.optimized_model_external_initializers_file_name", data_path(here / "optimised.onnx").name
            )
        open_session(source, device=device, options=options)
        source = here / "optimised.onnx"
    graph = onnx.load(source)
    names = {value.name for value in graph.graph.output}
    made = [name for node in graph.graph.node for name in node.output if name and name not in names]
    graph.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in made)
    save_model(graph, here / "open.onnx")
    session = open_session(here / "open.onnx", optimise=False, device=device)
    (batch,) = read_batches(here / INPUTS).values()
    write_batches(answer, {"": run_session(session, batch)})


def profile(here: Path, answer: Path, model: str, device: Device, runs: int) -> None:
    """Measures warm runs of the first batch: how long they take, and how long each kernel takes."""
    import onnxruntime

    (batch,) = read_batches(here / INPUTS).values()
    session = open_session(Path(model), device=device)
    seconds = [_time_run(session, batch) for _ in range(_WARM_UP + runs)][_WARM_UP:]
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(here / "profile")
    session = open_session(Path(model), device=device, options=options)
    for _ in range(_WARM_UP + runs):
        run_session(session, batch)
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    wholes = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e["name"] == "model_run")[_WARM_UP:]
    spent: dict[str, list[float]] = {}
    nodes: dict[str, set[str]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            kernel, index = event["args"]["op_name"], bisect.bisect(wholes, (event["ts"], math.inf)) - 1
            nodes.setdefault(kernel, set()).add(event["name"])
            if index >= 0:
                spent.setdefault(kernel, [0.0] * runs)[index] += event["dur"]
    measured = {
        "milliseconds": statistics.median(seconds) * 1000,
        "profiled": statistics.median(end - start for start, end in wholes),
        "kernels": [{"name": k, "count": len(nodes[k]), "microseconds": statistics.median(spent[k])} for k in nodes],
    }
    answer.write_text(json.dumps(measured), encoding="utf-8")


def race(here: Path, answer: Path, models: list[str], device: Device) -> None:
    """Times several files on each batch in rounds, in which each runs once; every round starts with another file."""
    sessions = [open_session(Path(model), device=device) for model in models]
    seconds: dict[str, list[list[float]]] = {}
    for name, batch in read_batches(here / INPUTS).items():
        for session in sessions * _WARM_UP:
            _time_run(session, batch)
        rounds: list[list[float]] = []
        start = time.perf_counter()
        while len(rounds) < _LEAST_ROUNDS or (
            len(rounds) < _MOST_ROUNDS and time.perf_counter() - start < _RACE_SECONDS
        ):
            times = [0.0] * len(sessions)
            for i in range(len(sessions)):
                at = (i + len(rounds)) % len(sessions)
                times[at] = _time_run(sessions[at], batch)
            rounds.append(times)
        seconds[name] = rounds
    answer.write_text(json.dumps(seconds), encoding="utf-8")


def _time_run(session: "InferenceSession", batch: Batch) -> float:
    start = time.perf_counter()
    run_session(session, batch)
    return time.perf_counter() - start
