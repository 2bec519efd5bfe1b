"""Formats benchmarks/results/export_matrix.md."""

from .results import PASSED, RECORDED
from .settings import IMAGES, PRECISIONS, ROUNDS, STEPS


def render_page(rows, waiting):
    """Returns the page.

    Args:
        rows: The rows that have been measured.
        waiting: The subjects of which something is missing, each with its opsets.
    """
    groups = {}
    for row in rows:
        groups.setdefault((row["kind"], row["subject"], row["weights"]), []).append(row)
    lines = format_introduction(rows)
    lines += [format_row(name, weights, group) for (_, name, weights), group in groups.items()]
    left = [
        f"{format_name(subject.name, subject.weights)} at opset {', '.join(map(str, opsets))}"
        for subject, opsets in waiting
    ]
    if left:
        lines += ["", f"Not measured yet: {'; '.join(left)}."]
    reasons = {(r["subject"], r["weights"], r["precision"]): r["result"] for r in rows if has_failed(r)}
    lines.append("")
    for (name, weights, precision), reason in reasons.items():
        lines.append(f"- {format_name(name, weights)} in {precision}: {reason}")
    return "\n".join(lines) + "\n"


def format_introduction(rows):
    passed = sum(row["result"] == PASSED for row in rows)
    recorded = sum(row["result"] == RECORDED for row in rows)
    failed = len(rows) - passed - recorded
    return [
        "# Export matrix",
        "",
        "`make matrix` measures the missing cells and writes this page; benchmarks/export/matrix explains how.",
        "The table gives the largest difference of probabilities from Keras (for layers, of outputs) over the opsets",
        f"of a row, batches 1, 7 and 32, and {IMAGES} images. For int8 it gives the accuracy of the worst opset.",
        "In brackets it says how many layers fp16 leaves in float32, if that is more than the first, and whether it",
        "leaves the sums of skip connections too. A network without trained weights was trained for",
        f"{STEPS} steps, or up to {ROUNDS * STEPS} until it tells images apart.",
        "",
        f"Of {len(rows)} cells, {passed} are within their limits, {failed} are not, and {recorded}",
        "have none: int8 without trained weights. export_matrix.csv has each cell.",
        "",
        "| | weights | opsets | fp32 | fp16 | int8 | accuracy fp32 | int8 | not within limits |",
        "|---|---|---|---|---|---|---|---|---|",
    ]


def format_row(name, weights, group):
    """Formats the row of a subject: the worst of its opsets and batches."""
    of = {p: [r for r in group if r["precision"] == p] for p in PRECISIONS}
    differences = " | ".join(format_largest(of[p]) for p in PRECISIONS)
    reached = [min((float(r["accuracy"]) for r in of[p] if r["accuracy"]), default=None) for p in ("fp32", "int8")]
    accuracies = " | ".join("" if value is None else f"{value:.2%}" for value in reached)
    opsets = ", ".join(sorted({r["opset"] for r in group}))
    failed = ", ".join(sorted({f"{r['precision']} at {r['opset']}" for r in group if has_failed(r)}))
    return f"| {name} | {weights} | {opsets} | {differences} | {accuracies} | {failed} |"


def format_largest(rows):
    """Formats the largest difference, and the layers that stay in float32 if they are more than the first."""
    found = [float(row["max_abs_diff"]) for row in rows if row["max_abs_diff"]]
    exact = max((int(row["float32_layers"] or 0) for row in rows), default=0)
    sums = ", sums" if any(row["float32_sums"] for row in rows) else ""
    return f"{max(found):.1e}{f' ({exact}{sums})' if exact > 1 else ''}" if found else ""


def format_name(name, weights):
    return f"{name} ({weights})" if weights else name


def has_failed(row):
    return row["result"] not in (PASSED, RECORDED)
