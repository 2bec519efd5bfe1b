"""Runs onnxruntime in a process of its own, so that a crash ends that process and not the caller's."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DeviceError, ExportError
from ..limits import watch_process
from ..storage.arrays import Batch, read_batches, write_batches
from .providers import DEVICES, Device, has_nvidia_driver
from .worker import ANSWER, FAILURE, INPUTS, JOB, RUN

_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {package}.worker import main; main(sys.argv[2])"
_ERRORS = {"ExportError": ExportError, "DeviceError": DeviceError}
_TAIL = 300


@dataclass(frozen=True)
class Form:
    """A way to run an ONNX file.

    Attributes:
        name: Its name in proofs and error messages.
        device: The device that computes.
        optimise: Whether onnxruntime may change the graph.
    """

    name: str
    device: Device = "cpu"
    optimise: bool = True


PLAIN, OPTIMISED = Form("onnxruntime, not optimised", optimise=False), Form("onnxruntime, optimised")
ON = {device: Form(f"onnxruntime, {provider.title}", device) for device, provider in DEVICES.items() if device != "cpu"}
# This form runs a file of its own, which rounds every result to fp16.
SIMULATED = Form("onnxruntime, rounding as on a GPU")
FORMS = {form.name: form for form in (PLAIN, OPTIMISED, *ON.values())}


def run_forms(model: Path, batches: Mapping[str, Batch], forms: Sequence[Form]) -> dict[str, dict[str, Batch]]:
    """Runs an ONNX file in several ways on several batches, in one process.

    Returns:
        The outputs by the names of the form and the batch.

    Raises:
        ExportError: If onnxruntime cannot open or run the file, or its process dies.
        DeviceError: If it would run on another provider.
    """
    tasks = [(RUN, {"model": str(model), "device": form.device, "optimise": form.optimise}) for form in forms]
    with tempfile.TemporaryDirectory(prefix="keras-skip-") as folder:
        run_tasks(Path(folder), tasks, [form.name for form in forms], batches)
        return {form.name: read_batches(Path(folder) / f"{ANSWER}-{i}") for i, form in enumerate(forms)}


def run_everywhere(
    model: Path, batches: Mapping[str, Batch], device: Device | None = None
) -> tuple[dict[str, dict[str, Batch]], dict[str, str]]:
    """Runs an ONNX file in every form that this machine has, each provider in a process of its own.

    Args:
        model: The file.
        batches: The inputs by name.
        device: The device to run on besides the CPU, which must be there; None takes CUDA if available.

    Returns:
        The outputs by form and batch, and the reason for each form that this machine does not have.

    Raises:
        ExportError: If onnxruntime cannot run the file.
        DeviceError: If the requested device is not there.
    """
    answers = run_forms(model, batches, (PLAIN, OPTIMISED))
    absent: dict[str, str] = {}
    if device is None:
        if not has_nvidia_driver():
            return answers, {ON["cuda"].name: f"CUDA does not run without NVIDIA's driver. {DEVICES['cuda'].needs}"}
        try:
            return answers | run_forms(model, batches, (ON["cuda"],)), absent
        except DeviceError as error:
            return answers, {ON["cuda"].name: str(error)}
    if device != "cuda":
        absent = {ON["cuda"].name: "It was left out."}
    return answers | (run_forms(model, batches, (ON[device],)) if device != "cpu" else {}), absent


def run_tasks(
    folder: Path,
    tasks: Sequence[tuple[str, Mapping[str, Any]]],
    names: Sequence[str],
    batches: Mapping[str, Batch] | None = None,
) -> None:
    """Runs tasks of the worker in a process of its own, which writes their answers into the folder.

    Raises:
        ExportError: If a task fails or the process dies; the message names the task.
        DeviceError: If a provider is not there.
    """
    job = {"tasks": [{"do": do, "arguments": arguments} for do, arguments in tasks]}
    (folder / JOB).write_text(json.dumps(job), encoding="utf-8")
    if batches is not None:
        write_batches(folder / INPUTS, batches)
    code = _START.format(package=__package__)
    command = [sys.executable, "-c", code, json.dumps(sys.path), str(folder)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=worker_environment(),
    )
    with process, watch_process(process.pid, process.kill) as exceeded:
        try:
            said = process.communicate()[1]
        except BaseException:
            process.kill()
            raise
    if (folder / FAILURE).is_file():
        failure = json.loads((folder / FAILURE).read_text(encoding="utf-8"))
        raise _ERRORS[failure["error"]](failure["message"])
    # A process may die after its last answer, when its libraries shut down.
    doing = next((name for i, name in enumerate(names) if not (folder / f"{ANSWER}-{i}").exists()), None)
    if exceeded and doing is not None:
        raise ExportError(f'Stopped the process for "{doing}": it took {exceeded[0]}.')
    if process.returncode != 0 and doing is not None:
        raise ExportError(f'The process for "{doing}" {describe_exit(process.returncode, said)}')


def worker_environment() -> dict[str, str]:
    # The caller may turn warnings into errors; the libraries of the worker may warn.
    return {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}


def describe_exit(code: int, said: str) -> str:
    said = said.strip()[-_TAIL:]
    message = f", and said: {said}" if said else ""
    if code < 0:
        return f"died of {signal.Signals(-code).name}{message}"
    return f"ended with exit code {code}{message}"
