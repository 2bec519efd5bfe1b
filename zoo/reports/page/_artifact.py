"""The parity and the speed of the export of a run, read from its files."""

import html
import json
from pathlib import Path

from ...analysis.speed import read
from ._tables import grid, tiles


def parity(folder: Path) -> str:
    """Lists the comparisons of an export and their differences; empty for a run without an export."""
    path = folder / "parity.json"
    if not path.is_file():
        return ""
    found = json.loads(path.read_text(encoding="utf-8"))
    agreement = found.get("argmax_agreement")
    figures = tiles(
        [
            ("largest difference", f"{found['max_abs_diff']:.1e}"),
            ("same class", "" if agreement is None else f"{agreement:.2%}"),
        ]
    )
    rows = [
        {
            "compared": pair["candidate"],
            "with": pair["reference"],
            "inputs": pair["examples"],
            "largest difference": f"{pair['max_abs_diff']:.1e}",
            "same class": "-" if pair["argmax_agreement"] is None else f"{pair['argmax_agreement']:.2%}",
        }
        for pair in found["comparisons"]
        if pair["status"] == "compared"
    ]
    return f"<h2>Export</h2>{figures}{grid(rows)}"


def speed(folder: Path) -> str:
    """Lists the times in Keras and under onnxruntime; empty if they were not measured."""
    found = read(folder)
    if found is None:
        return ""
    rows = [{**row.as_row(), "examples per second": f"{1e3 * row.batch / row.exported:,.0f}"} for row in found["rows"]]
    note = (
        f"From raw inputs to predictions on {found['processor']}, Keras on {found['backend']}. "
        "Medians; Keras and onnxruntime took turns."
    )
    return f"<h2>Speed</h2>{grid(rows)}<p>{html.escape(note)}</p>"
