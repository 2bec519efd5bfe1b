"""Reads and appends the rows of benchmarks/results/export_matrix.csv, and lists what is missing."""

import csv

from ...harness import RESULTS
from .settings import LAST_OPSET_OF_ALL, MAX_PARAMETERS_ABOVE, OPSETS, PRECISIONS

CSV = RESULTS / "export_matrix.csv"
FIELDS = ("subject", "kind", "weights", "depth", "parameters", "opset", "precision", "batch", "images")
FIELDS += ("float32_layers", "float32_sums", "max_abs_diff", "argmax_agreement", "accuracy", "result", "seconds")
# Results other than these are errors; int8 has no limit where there is no accuracy to judge.
PASSED, RECORDED = "passed", "recorded"


def read_rows():
    if not CSV.exists():
        return []
    with CSV.open(newline="") as file:
        return list(csv.DictReader(file))


def append_rows(rows):
    fresh = not CSV.exists()
    CSV.parent.mkdir(exist_ok=True)
    with CSV.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if fresh:
            writer.writeheader()
        writer.writerows(rows)


def list_waiting(subjects, rows, opsets=OPSETS):
    """Lists the subjects of which something is missing at some opsets, each with its missing precisions by opset."""
    done = {(row["subject"], row["weights"], row["opset"], row["precision"]) for row in rows}
    found = []
    for subject in subjects:
        about = subject.name, subject.weights
        small = subject.parameters <= MAX_PARAMETERS_ABOVE
        own = [opset for opset in opsets if opset <= LAST_OPSET_OF_ALL or small]
        missing = {opset: [name for name in PRECISIONS if (*about, str(opset), name) not in done] for opset in own}
        found.append((subject, {opset: names for opset, names in missing.items() if names}))
    return [(subject, missing) for subject, missing in found if missing]
