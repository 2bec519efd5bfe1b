"""Measures the cells of a subject and an opset."""

import os
import time

import numpy as np
import onnxruntime

from export.convert.onnx_model import write_onnx
from export.errors import ParityError
from export.precision.fp16 import convert_to_fp16, simulate_fp16
from export.precision.fp16_search import IN_FLOAT32
from export.precision.int8 import quantise_to_int8
from export.precision.quantisation import choose_settings
from export.precision.tolerances import TOLERANCES
from export.proof.parity import compare
from export.runtime.sessions import open_session, run_session

from .results import PASSED, RECORDED
from .settings import BATCHES, IMAGES, MAX_DROP, PRECISIONS


def measure_cells(subject, opset, wanted, folder):
    """Yields the rows in the wanted precisions, and in float32, from which the others are made."""
    files, reached = {name: folder / f"{name}.onnx" for name in PRECISIONS}, {}
    for precision in (name for name in PRECISIONS if name == "fp32" or name in wanted):
        about, start = {"opset": opset, "precision": precision}, time.perf_counter()
        try:
            if wanted == ["fp16"] and precision == "fp32":
                write_file(subject, opset, precision, files)
                continue
            session, rows = measure_precision(subject, about, files, folder)
            if subject.labels is not None:
                reached[precision] = about["accuracy"] = measure_accuracy(subject, session)
        except Exception as error:
            # A cell that cannot be made is a result too.
            sentence = " ".join(f"{type(error).__name__}: {error}".split())
            rows = [{"result": sentence[:300]} for _ in BATCHES]
        if precision == "int8" and {"fp32", "int8"} <= reached.keys():
            verdict = judge_accuracy(reached)
            rows = [row | ({"result": verdict} if row["result"] == RECORDED else {}) for row in rows]
        seconds = round((time.perf_counter() - start) / len(rows), 2)
        for batch, row in zip(BATCHES, rows, strict=True):
            yield about | row | {"batch": batch, "seconds": seconds}


def measure_precision(subject, about, files, folder):
    """Measures one precision; fp16 keeps as little in float32 as it takes.

    Args:
        subject: The subject.
        about: The opset and the precision; gets the layers that fp16 keeps in float32.
        files: The path of each precision's file.
        folder: A folder for further files.

    Returns:
        The session, and a row for each batch.
    """
    opset, precision = about["opset"], about["precision"]
    for share, sums in IN_FLOAT32 if precision == "fp16" else IN_FLOAT32[:1]:
        about |= write_file(subject, opset, precision, files, share, sums)
        session = open_session(files[precision], options=session_options())
        rows = [compare_answers(subject, run(subject, session, batch), precision) for batch in BATCHES]
        if precision == "fp16":
            simulate_fp16(files["fp32"], simulated := folder / "simulated.onnx", share, sums)
            rounding = run(subject, open_session(simulated, options=session_options()), BATCHES[-1])
            rows = [max(row, compare_answers(subject, rounding, precision), key=badness) for row in rows]
        if all(row["result"] == PASSED for row in rows):
            break
    return session, rows


def write_file(subject, opset, precision, files, share=0.0, sums=False):
    """Writes the file of a precision, and returns what fp16 keeps in float32."""
    if precision == "fp32":
        write_onnx(subject.endpoint, files["fp32"], opset)
    elif precision == "fp16":
        exact, _ = convert_to_fp16(files["fp32"], files["fp16"], share, sums)
        return {"float32_layers": exact, "float32_sums": sums or ""}
    else:
        chosen = choose_settings()
        calibration = [{subject.input: subject.calibration}]
        quantise_to_int8(files["fp32"], files["int8"], calibration, chosen.activations, chosen.reduce_range)
    return {}


def session_options():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", 0))
    return options


def run(subject, session, batch):
    """Returns the answers for all images, in batches of one size."""
    parts = [
        next(iter(run_session(session, {subject.input: subject.images[i : i + batch]}).values()))
        for i in range(0, IMAGES, batch)
    ]
    return np.concatenate(parts)


def measure_accuracy(subject, session):
    """Returns the accuracy on all test images."""
    decided = [
        next(iter(run_session(session, {subject.input: subject.test[i : i + 256]}).values())).argmax(-1)
        for i in range(0, len(subject.test), 256)
    ]
    return round(float(np.mean(np.concatenate(decided) == subject.labels)), 5)


def judge_accuracy(reached):
    drop = 100 * (reached["fp32"] - reached["int8"])
    return PASSED if drop <= MAX_DROP + 1e-9 else f"{drop:.2f} points less accurate"


def badness(row):
    return row["result"] != PASSED, row["max_abs_diff"]


def compare_answers(subject, received, precision):
    """Compares answers with those of Keras: the largest difference, the agreement of the arg-max, and the result."""
    tolerance = TOLERANCES[precision]
    probabilities = subject.kind == "network"
    limits = {"atol": tolerance.atol, "rtol": 0.0 if probabilities else tolerance.rtol}
    row = {"max_abs_diff": float(np.max(np.abs(received - subject.expected))), "result": PASSED}
    row["argmax_agreement"] = round(float(np.mean(received.argmax(-1) == subject.expected.argmax(-1))), 5)
    try:
        record = compare(
            {"images": subject.expected},
            {"images": received},
            {"images": subject.images},
            names=("Keras", "onnxruntime"),
            **limits,
            agreement=tolerance.agreement,
            decision="argmax" if probabilities else None,
        )
        # It leaves out ties, where the difference of two classes is below the tolerance.
        row["argmax_agreement"] = "" if record.argmax_agreement is None else record.argmax_agreement
    except ParityError as error:
        row["result"] = str(error)
        if precision == "fp32" and probabilities:
            row["result"] += f". Keras in float32 is itself {subject.own_error:.1e} from the network in float64"
    if precision == "int8" and row["result"] == PASSED:
        row["result"] = RECORDED
    elif row["result"] == PASSED and probabilities and not subject.tells_apart(tolerance):
        row["result"] = f"Expected answers that depend on the image. Received: {subject.spread:.1e} between two images"
    return row
