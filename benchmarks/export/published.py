"""Exports networks that others published for Keras 3, here and with Keras's own exporter.

    pip install --no-deps -r benchmarks/published/requirements.txt
    python -m benchmarks.export.published [PATTERN] [--csv FILE] [--exporter keras-skip|keras|both]
        [--minutes 10] [--compare EARLIER.csv]

The folder benchmarks/published lists them: small, with new weights. Each export runs in its own process, for at most
--minutes. A row of the table gives, for "keras-skip", the proof of `export.export`; for "keras", the difference between
the model and the file of `model.export` under onnxruntime, which Keras itself does not check: the model converts if the
difference is at most a thousandth of the largest output. The table is written row by row, and a later run resumes it.
With --compare, a network that converted in an earlier table and does not in this one is an error.
"""

import argparse
import csv
import fnmatch
import json
import sys
import tempfile
import time
from pathlib import Path

from ..harness import run_in_own_process
from ..published import NETWORKS, VOCABULARY

COLUMNS = ("network", "exporter", "converts", "max_rel_diff", "weak", "batchable", "samples", "seconds", "error")
EXPORTERS = ("keras-skip", "keras")
NEAR = 1e-3
# The number of examples, and the length of a dimension without a fixed size.
SIZES = ((2, 32), (3, 64))


def draw(model, examples, length, seed=0):
    """Draws inputs that mean something: tokens of the vocabulary, and masks whose ends are padding."""
    import numpy as np

    rng = np.random.default_rng(seed)
    drawn = {}
    for x in model.inputs:
        shape = (examples, *(length if n is None else n for n in x.shape[1:]))
        if "mask" in x.name and "positions" not in x.name:
            drawn[x.name] = np.tile(np.arange(length) < 0.75 * length, (examples, 1)).astype(x.dtype)
        elif "int" in x.dtype:
            below = {"segment_ids": 2, "mask_positions": length}.get(x.name, VOCABULARY)
            drawn[x.name] = rng.integers(0, below, shape).astype(x.dtype)
        else:
            drawn[x.name] = rng.normal(size=shape).astype(x.dtype)
    return drawn


def export_with_keras_skip(model, path):
    """Returns the verdict of the proof; only a model that asks for samples gets them."""
    import export

    options = {"formats": "onnx", "batch_sizes": (1, 2, 7)}
    try:
        artifact, samples = export.export(model, path / "a", **options), False
    except ValueError as error:
        if "Expected samples=" not in str(error):
            raise
        drawn = draw(model, *SIZES[0])
        drawn = drawn if len(drawn) > 1 else next(iter(drawn.values()))
        artifact, samples = export.export(model, path / "b", **options, samples=drawn), True
    parity, about = artifact.parity, artifact.metadata
    found = {"weak": parity.get("weak"), "batchable": about.get("batchable"), "samples": samples}
    return {"converts": True, "max_rel_diff": parity["max_rel_diff"], **found}


def export_with_keras(model, path):
    """Measures how far the file that Keras writes is from the model, on two sizes."""
    import keras
    import numpy as np
    import onnxruntime

    pairs = []
    for size in SIZES:
        drawn = draw(model, *size)
        answered = model(drawn if len(drawn) > 1 else next(iter(drawn.values())), training=False)
        pairs.append((drawn, keras.tree.flatten(answered)))
    # Keras refuses a model that has not been called.
    model.export(path / "model.onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(path / "model.onnx", providers=["CPUExecutionProvider"])
    names = [x.name for x in session.get_inputs()]
    if len(names) != len(model.inputs):
        raise ValueError(f"{len(model.inputs)} inputs become {len(names)}: {', '.join(names)[:100]}")
    worst = 0.0
    for drawn, expected in pairs:
        fed = drawn if set(names) == set(drawn) else dict(zip(names, drawn.values(), strict=True))
        answers = session.run(None, fed)
        if len(answers) != len(expected):
            raise ValueError(f"{len(expected)} outputs become {len(answers)}")
        for y, answer in zip(expected, answers, strict=True):
            y = np.asarray(y)
            if y.shape != answer.shape:
                raise ValueError(f"outputs of shape {y.shape} become {answer.shape}")
            apart = np.max(np.abs(y - answer)) if y.dtype.kind == "f" else float(np.any(y != answer))
            worst = max(worst, float(apart / max(np.max(np.abs(y)), 1e-30)))
    found = {"converts": worst <= NEAR, "max_rel_diff": worst}
    return found if found["converts"] else {**found, "error": f"outputs are off by {worst:.1e}"}


def case(name, exporter):
    import keras

    keras.utils.set_random_seed(0)
    model = next(network for network in NETWORKS if network.name == name).build()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = (export_with_keras_skip if exporter == "keras-skip" else export_with_keras)(model, Path(folder))
        except Exception as error:
            # A refusal is a result too.
            found = {"converts": False, "error": " ".join(f"{type(error).__name__}: {error}".split())[:400]}
    return found | {"seconds": round(time.perf_counter() - start, 1)}


def measure(network, exporter, minutes):
    if not network.installed:
        return {"converts": "not installed"}
    try:
        found = run_in_own_process(__spec__.name, network.name, exporter, minutes=minutes)
    except RuntimeError as error:
        last = str(error).strip().splitlines()[-1]
        return {"converts": False, "error": f"crashed: {last[:400]}"}
    return found or {"converts": False, "error": f"not done after {minutes:g} minutes"}


def read(path):
    """Returns the rows of a table, by network and exporter."""
    if not path or not Path(path).exists():
        return {}
    with open(path, newline="") as file:
        return {(row["network"], row["exporter"]): row for row in csv.DictReader(file)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pattern", nargs="?", default="*")
    parser.add_argument("--csv", default="export_published.csv")
    parser.add_argument("--exporter", choices=(*EXPORTERS, "both"), default="both")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--compare", help="an earlier table; what converted there must convert here")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(case(*json.loads(options.case))))
        return
    exporters = EXPORTERS if options.exporter == "both" else (options.exporter,)
    chosen = [network for network in NETWORKS if fnmatch.fnmatchcase(network.name, options.pattern)]
    done, new = read(options.csv), not Path(options.csv).exists()
    with open(options.csv, "a", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        if new:
            table.writeheader()
        for exporter, network in [(e, n) for e in exporters for n in chosen if (n.name, e) not in done]:
            row = {"network": network.name, "exporter": exporter, **measure(network, exporter, options.minutes)}
            table.writerow(row)
            file.flush()
            print(", ".join(f"{key}={row[key]}" for key in COLUMNS if row.get(key) not in (None, "")), flush=True)
    report(read(options.csv), read(options.compare), chosen, exporters)


def report(rows, earlier, chosen, exporters):
    for exporter in exporters:
        converted = [rows[network.name, exporter]["converts"] for network in chosen]
        tried = [x for x in converted if x != "not installed"]
        absent = len(converted) - len(tried)
        print(
            f"{exporter}: {tried.count('True')} of {len(tried)} convert" + (f", {absent} not installed" * bool(absent))
        )
        keys = [(network.name, exporter) for network in chosen]
        lost = [
            f"{key[0]}: {rows[key]['error']}"
            for key in keys
            if key in earlier and earlier[key]["converts"] == "True" and rows[key]["converts"] == "False"
        ]
        if lost:
            sys.exit("\n".join([f"{len(lost)} converted in the earlier table and do not now:", *lost]))


if __name__ == "__main__":
    main()
