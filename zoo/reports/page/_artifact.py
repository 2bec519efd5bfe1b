"""What the export of a run has proven and gains, read from the files that it left in the run."""

import html
import json
from pathlib import Path

from ...analysis.speed import read
from ._tables import grid, tiles


def parity(folder: Path) -> str:
    """What was compared with what at export, and how far apart it was; empty for a run without an export."""
    path = folder / "parity.json"
    if not path.is_file():
        return ""
    found = json.loads(path.read_text())
    agreement = found.get("argmax_agreement")
    told = tiles(
        [
            ("largest difference", f"{found['max_abs_diff']:.1e}"),
            ("same answer", "" if agreement is None else f"{agreement:.2%}"),
        ]
    )
    rows = [
        {
            "compared": pair["candidate"],
            "with": pair["reference"],
            "inputs": pair["examples"],
            "largest difference": f"{pair['max_abs_diff']:.1e}",
            "same answer": "-" if pair["argmax_agreement"] is None else f"{pair['argmax_agreement']:.2%}",
        }
        for pair in found["comparisons"]
        if pair["status"] == "compared"
    ]
    return f"<h2>The export</h2>{told}{grid(rows)}"


def speed(folder: Path) -> str:
    """How long the network takes in Keras and under onnxruntime; empty where that was not measured."""
    found = read(folder)
    if found is None:
        return ""
    rows = [{**row.told(), "images per second": f"{1e3 * row.batch / row.exported:,.0f}"} for row in found["rows"]]
    note = f"From pixels to answers on {found['processor']}, Keras on {found['backend']}; medians of rounds in turns."
    return f"<h2>Speed</h2>{grid(rows)}<p>{html.escape(note)}</p>"
