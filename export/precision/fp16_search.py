"""Rewrites ONNX files in fp16: searches for the fewest layers in float32 with which they stay close to Keras."""

import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import ParityError
from ..runtime.processes import run_tasks
from ..runtime.worker import ANSWER, TO_FP16
from .files import open_beside, replace_file

# fp16 leaves as little in float32 as possible: a share of the layers, where 0 keeps at most the first one, and whether
# the sums of skip connections stay too.
IN_FLOAT32 = ((0.0, False), (1 / 8, False), (1 / 4, False), (1 / 2, False), (1 / 2, True))
# See `rewrite_in_fp16`.
Judge = Callable[[Path, Path, bool], dict[str, Any]]


def rewrite_in_fp16(model: Path, judge: Judge) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rewrites an ONNX file in fp16, with as few of its first layers in float32 as the tolerances need.

    Args:
        model: The file.
        judge: Takes a file, one that rounds as a GPU does, and whether they are the last candidates; it raises a
            ParityError if they are too far from Keras.

    Returns:
        The record, ready for JSON: the bytes of both files, the numbers of layers in float32 and in all, and whether
        sums are in float32; and the result of the judge.

    Raises:
        ParityError: If the file is too far from Keras even with half of the layers and all sums in float32.
        ExportError: If it cannot be rewritten.
    """
    for share, sums in IN_FLOAT32[:-1]:
        with suppress(ParityError):
            return _try_fp16(model, share, sums, judge)
    return _try_fp16(model, *IN_FLOAT32[-1], judge)


def _try_fp16(model: Path, share: float, sums: bool, judge: Judge) -> tuple[dict[str, Any], dict[str, Any]]:
    with open_beside(model) as target, tempfile.TemporaryDirectory(prefix="keras-skip-") as name:
        simulated = target.with_stem("simulated")
        arguments = {
            "source": str(model),
            "target": str(target),
            "simulated": str(simulated),
            "share": share,
            "sums": sums,
        }
        run_tasks(Path(name), [(TO_FP16, arguments)], ["the conversion to fp16"])
        exact, layers = json.loads((Path(name) / f"{ANSWER}-0").read_text(encoding="utf-8"))
        judged = judge(target, simulated, (share, sums) == IN_FLOAT32[-1])
        record = {"bytes": replace_file(model, target, "fp16"), "float32_layers": exact, "layers": layers}
        return record | {"float32_sums": sums}, judged
