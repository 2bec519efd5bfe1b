"""Predicts for many inputs and writes a row for each; `predict_files`."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ..runtime.providers import Device
from .answers import list_columns, make_answer, make_row
from .computing import Groups, Output, compute_here
from .formats import Format, find_format
from .inputs import Input, resolve_paths, survey
from .network import ArtifactNetwork, Network
from .part import TABLE, Part, check_out
from .ray_data import compute_on_ray

ON_BAD_INPUT = ("error", "skip")
_AT_ONCE = 32
_OUT = "predictions.csv"
# Called with the number of rows written, the bytes read, and the bytes of all inputs.
Progress = Callable[[int, float, int], None]


@dataclass(frozen=True)
class Predictions:
    """The result of `predict_files`.

    Attributes:
        path: The table, or the folder of masks.
        rows: The number of inputs.
        bad: How many of them could not be read or computed.
        named: The first of these, with the reasons.
    """

    path: Path
    rows: int
    bad: int
    named: tuple[str, ...]


def predict_files(
    network: str | Path | Network,
    inputs: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    top: int = 1,
    batch_size: int | None = None,
    on_bad_input: Literal["error", "skip"] = "error",
    resume: bool = False,
    overwrite: bool = False,
    device: Device = "cpu",
    ray: str | None = None,
    progress: Progress | None = None,
) -> Predictions:
    """Predicts for files and writes a row for each, in their order.

    For a classification the table has the columns "file", "label" and "probability", and with `top` also "label2",
    "probability2" and so on; for a regression it has a column for each target. A segmentation gives PNG files whose
    pixels are class indices, in a folder with a table of their names. There may be any number of inputs, which are read
    one by one. If the process is killed, the rows that it has written stay in OUT.part.

    Args:
        network: The folder of an artifact.
        inputs: Paths of images, of folders, which are searched for images, of archives (.tar, .tar.gz, .zip and
            others), of arrays (.npy, .npz), or patterns such as "photos/**/*.jpg".
        out: A file in .csv, .jsonl, .json or .parquet, or a folder for masks. The default is "predictions.csv", or
            "predictions" for masks. It may be inside a folder of inputs, and is not read.
        top: How many classes a row names, the most probable first.
        batch_size: How many inputs to compute at once. The default is 32, or 1 if the answer to an input depends on the
            others in its batch.
        on_bad_input: "error" stops at an input that cannot be read. "skip" leaves its row empty, and gives the reason
            in a column "error".
        resume: Whether to continue OUT.part, if it exists. The finished file is the same as without the interruption.
        overwrite: Whether to replace an existing output, once the new one is complete.
        device: The device, as in `load`.
        ray: The Ray cluster to compute on: "auto" finds a running one, "local" starts one here, and anything else is an
            address. It gets an actor for each CPU, or with `device="cuda"` for each GPU. Inputs are read here, and the
            artifact must be at the same path on every machine.
        progress: Called with the number of rows written, the bytes of inputs read, and the bytes of all inputs.

    Returns:
        The path, the number of rows, and the bad inputs, as `Predictions`.

    Raises:
        FileExistsError: If the output exists, or is unfinished, and neither `overwrite` nor `resume` allows that.
        FileNotFoundError: If an input does not exist.
        ValueError: If an argument is invalid, an input cannot be read, or `resume` finds other inputs, another network
            or other settings.

    Example:
        >>> predict_files("classifier", "photos", "predictions.csv", top=3)
        Predictions(path=PosixPath('predictions.csv'), rows=1200, bad=0, named=())
    """
    check_prediction(inputs, out, batch_size, on_bad_input, resume=resume, overwrite=overwrite)
    opened = ArtifactNetwork(network, device) if isinstance(network, (str, Path)) else network
    job = _plan(opened, out, top, batch_size, on_bad_input)
    compute = compute_on_ray(opened, ray) if ray else compute_here(opened)
    check_out(job.out, resume, overwrite)
    paths = resolve_paths(inputs, job.out)
    found = survey(paths, opened, job.out)
    identity = {"network": opened.key, "inputs": found.fingerprint, "settings": {**job.settings, "ray": bool(ray)}}
    part = Part(Path(os.path.abspath(job.out)), job.makes_masks, identity)
    part.start(resume)
    try:
        groups = Groups(paths, opened, job.out, job.batch_size, part.rows)
        _write_rows(job, part, compute(groups), partial(_report, progress, found.size))
        part.finish(job.format.footer, job.convert, overwrite)
    finally:
        part.close()
    return Predictions(job.out, part.rows, part.bad, tuple(part.named))


def check_prediction(
    inputs: str | Path | Sequence[str | Path],
    out: str | Path | None,
    batch_size: int | None,
    on_bad_input: str,
    *,
    resume: bool,
    overwrite: bool,
) -> None:
    """Raises the errors of `predict_files` that need no network."""
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"Expected batch_size to be at least 1. Received: batch_size={batch_size}")
    if on_bad_input not in ON_BAD_INPUT:
        raise ValueError(f"Expected on_bad_input to be one of {ON_BAD_INPUT}. Received: on_bad_input={on_bad_input!r}")
    if out is not None:
        check_out(Path(out), resume, overwrite)
    resolve_paths(inputs, Path(out or _OUT))


@dataclass(frozen=True)
class _Job:
    """What is written for a network, and how."""

    network: Network
    out: Path
    top: int
    batch_size: int
    on_bad_input: str
    columns: dict[str, type]
    format: Format

    @property
    def makes_masks(self) -> bool:
        return self.network.task == "segmentation"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings on which the bytes of the output depend."""
        chosen = {name: getattr(self, name) for name in ("top", "batch_size", "on_bad_input")}
        return {**chosen, "suffix": self.out.suffix}

    @property
    def convert(self) -> Callable[[Path, Path], None] | None:
        convert = self.format.convert
        return (lambda text, path: convert(text, path, self.columns)) if convert else None


def _plan(network: Network, out: str | Path | None, top: int, batch_size: int | None, on_bad_input: str) -> _Job:
    makes_masks = network.task == "segmentation"
    out = Path(out) if out is not None else Path("predictions" if makes_masks else _OUT)
    if makes_masks and out.suffix:
        raise ValueError(f"Expected out to be a folder, for masks. Received: out={str(out)!r}")
    if not network.batchable and batch_size not in (None, 1):
        raise ValueError(
            "Expected batch_size to be None or 1, since an answer may depend on the other inputs of its batch. "
            f"Received: batch_size={batch_size}"
        )
    size = batch_size or (_AT_ONCE if network.batchable else 1)
    columns = list_columns(network, top, on_bad_input == "skip")
    return _Job(network, out, top, size, on_bad_input, columns, find_format(out / TABLE if makes_masks else out))


def _write_rows(
    job: _Job,
    part: Part,
    computed: Iterator[tuple[Sequence[Input], list[Output]]],
    report: Callable[[int, float], None],
) -> None:
    """Writes a row for each output."""
    if part.size == 0:
        part.append(job.format.header(job.columns))
    answer = make_answer(job.network, job.top, part.path if job.makes_masks else None)
    read = 0.0
    for group, outputs in computed:
        rows, bad = [], []
        for number, (given, output) in enumerate(zip(group, outputs, strict=True), part.rows):
            if not isinstance(output, str):
                rows.append(make_row(job.columns, given.name, answer(given, number, output), ""))
                continue
            if job.on_bad_input == "error":
                raise ValueError(
                    "Expected inputs that can be read, or on_bad_input='skip' to list the others with their errors. "
                    f"Received: {given.name!r} ({output})"
                )
            rows.append(make_row(job.columns, given.name, None, output))
            bad.append(f"{given.name} ({output})")
        part.append(job.format.rows(job.columns, rows, part.rows == 0), len(rows), bad)
        read += sum(given.read for given in group)
        report(part.rows, read)
    if part.rows == 0:
        raise ValueError("Expected at least one input. Received: archives or arrays that hold none")


def _report(progress: Progress | None, total: int, rows: int, read: float) -> None:
    if progress:
        progress(rows, read, total)
