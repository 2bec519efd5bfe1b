"""The tasks of the worker that write a file in another precision with onnxruntime's tools."""

import json
import shutil
from pathlib import Path
from typing import Literal

from ..runtime.worker import INPUTS
from ..storage.arrays import read_batches
from . import fp16, int8, weights


def convert_to_fp16(
    here: Path, answer: Path, source: str, target: str, simulated: str, share: float, sums: bool
) -> None:
    """Writes a file in fp16, except a share of the layers and the sums, and one that rounds as a GPU does."""
    fp16.simulate_fp16(Path(source), Path(simulated), share, sums)
    answer.write_text(json.dumps(fp16.convert_to_fp16(Path(source), Path(target), share, sums)), encoding="utf-8")


def quantise_to_int8(
    here: Path, answer: Path, source: str, target: str, activations: Literal["uint8", "int8"], reduce_range: bool
) -> None:
    """Writes a file in int8, calibrated on the batches of the job."""
    file = here / "quantised.onnx"
    worst = int8.quantise_to_int8(Path(source), file, read_batches(here / INPUTS).values(), activations, reduce_range)
    shutil.move(file, target)
    answer.write_text(json.dumps(worst), encoding="utf-8")


def quantise_to_int8_dynamic(here: Path, answer: Path, source: str, target: str, reduce_range: bool) -> None:
    """Writes a file in int8 whose ranges are measured in each run."""
    file = here / "quantised.onnx"
    weights.quantise_dynamically(Path(source), file, reduce_range)
    shutil.move(file, target)
    answer.write_text("[]", encoding="utf-8")


def quantise_to_int4(here: Path, answer: Path, source: str, target: str) -> None:
    """Writes a file with weights in int4."""
    file = here / "quantised.onnx"
    weights.quantise_to_int4(Path(source), file)
    shutil.move(file, target)
    answer.write_text("[]", encoding="utf-8")
