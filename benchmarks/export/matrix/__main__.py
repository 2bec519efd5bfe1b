"""Exports networks up to 30M parameters and layers, in each precision, opset and batch: `make matrix`.

    python -m benchmarks.export.matrix [--data NAME=PATH ...] [--only PATTERN] [--opsets N ...]
        [--minutes N] [--table]

Each opset converts a network once and makes fp16 and int8 from that file. One session of onnxruntime (CPU, all
optimisations) runs each file on 256 images in batches of 1, 7 and 32. fp16 keeps as little in float32 as it takes, and
also runs with the rounding of a GPU; the worse of the two counts, as in an export. Each cell holds the largest
difference of a probability from Keras and the agreement of the arg-max. Networks with trained weights also hold the
accuracy on all test images, which judges int8.

Other networks learn for 50 steps first, since new weights magnify rounding and answer nearly alike for every image.
They learn on, up to 300 steps, until the answers for two images differ by twice the limit of fp16, in the median. If
they still do not, a cell within that limit does not pass. Networks for ImageNet run on 64 x 64 pixels. A network of
more than 5 billion multiply-adds learns on images of half its side. The networks that take no photographs learn from
digits, whose pixels fill their inputs.

The rows of each opset are appended to benchmarks/results/export_matrix.csv, and a later run measures the missing rows.
To measure some again, delete them. --opsets measures opsets other than 13, 15, 17 and 18, such as 21 and 23; those
above 18 are measured only for layers and networks of up to 5M parameters. --data gives the path of data that
`zoo.load_source` does not find. --table only writes the page again.
"""

import argparse
import logging
import tempfile
import time
from functools import cache
from pathlib import Path

import keras

import zoo

from ...harness import RESULTS
from .cells import measure_cells
from .page import has_failed, render_page
from .results import append_rows, list_waiting, read_rows
from .settings import IMAGES, OPSETS
from .subjects import list_subjects


def measure_subject(subject, missing, sources):
    """Yields each opset after its rows are appended, with the rows."""
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    about = {"subject": subject.name, "kind": subject.kind, "weights": subject.weights}
    about |= {"depth": subject.depth, "parameters": subject.parameters, "images": IMAGES}
    try:
        subject.open(sources)
    except Exception as error:
        # A subject that cannot be opened here, for example without its data, waits for another run.
        print(f"{subject.name}: left out, {error!r}", flush=True)
        return
    for opset, wanted in missing.items():
        with tempfile.TemporaryDirectory() as folder:
            rows = [row for row in measure_cells(subject, opset, wanted, Path(folder)) if row["precision"] in wanted]
        append_rows([about | row for row in rows])
        yield opset, rows


def write_page():
    rows = read_rows()
    (RESULTS / "export_matrix.md").write_text(render_page(rows, list_waiting(list_subjects("*"), rows)))


def measure(waiting, sources, minutes):
    """Measures until everything is there or the time is up."""
    start, cost = time.perf_counter(), 0.0
    total = sum(subject.depth * len(missing) for subject, missing in waiting)
    for subject, missing in waiting:
        for opset, rows in measure_subject(subject, missing, sources):
            cost += subject.depth
            spent = time.perf_counter() - start
            failed = {row["result"] for row in rows if has_failed(row)}
            print(
                f"{subject.name} {subject.weights} opset {opset}: {'; '.join(sorted(failed)) or 'passed'} "
                f"({spent / 60:.1f} min, about {spent / cost * (total - cost) / 60:.0f} min to go)",
                flush=True,
            )
            if spent > minutes * 60:
                return
        write_page()


def main():
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__.splitlines()[0])
    parser.add_argument("--data", action="append", default=[], metavar="NAME=PATH", help="where data are found")
    parser.add_argument("--only", default="*", help="shell pattern of networks and layers")
    parser.add_argument("--opsets", nargs="+", type=int, default=OPSETS, metavar="N", help="the opsets to measure")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--table", action="store_true", help="only write the page")
    options = parser.parse_args()
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    logging.getLogger().setLevel(logging.ERROR)
    paths = dict(entry.split("=", 1) for entry in options.data)
    if not options.table:
        sources = cache(lambda name: zoo.load_source(paths.get(name, name)))
        measure(list_waiting(list_subjects(options.only), read_rows(), options.opsets), sources, options.minutes)
    write_page()


if __name__ == "__main__":
    main()
