"""Times opening a network for the first time, and again with the cache that the first start wrote.

    python -m benchmarks.export.second_start [--networks NAME ...] [--openvino PYTHON] [--rounds 5]

onnxruntime can save its optimised graph, and OpenVINO its compiled network. "check" is the SHA-256 of the saved file,
without which a damaged one would be run. Every start has a process of its own. Seconds are processor time, on which
other load has less influence. Answers must be equal to the bit.
--openvino names an interpreter with onnxruntime-openvino; the default is this one.
"""

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PLAIN, KEPT, OPENVINO, OPENVINO_KEPT = "onnxruntime", "onnxruntime, kept", "OpenVINO", "OpenVINO, kept"


def start(kind, model, folder):
    """Opens a session, writes its answer, and prints the seconds of opening and of checking; runs alone."""
    import onnxruntime

    folder = Path(folder)
    entry, options, provider = folder / "optimised.onnx", onnxruntime.SessionOptions(), ("CPUExecutionProvider", {})
    options.log_severity_level = 4
    if kind.startswith(OPENVINO):
        kept = {"cache_dir": str(folder / "openvino")} if kind == OPENVINO_KEPT else {}
        provider = "OpenVINOExecutionProvider", {"device_type": "CPU", "precision": "FP32", **kept}
        if provider[0] not in onnxruntime.get_available_providers():
            return
    elif kind == KEPT and entry.exists():
        model, options.graph_optimization_level = entry, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    elif kind == KEPT:
        options.optimized_model_filepath = str(entry)
    began = time.process_time()
    if model == entry:
        hashlib.sha256(entry.read_bytes()).hexdigest()
    checked = time.process_time()
    session = onnxruntime.InferenceSession(str(model), options, providers=[provider])
    opened = time.process_time()
    (given,) = session.get_inputs()
    batch = np.random.default_rng(0).normal(size=(2, *given.shape[1:])).astype("float32")
    np.save(folder / f"{kind}.npy", session.run(None, {given.name: batch})[0])
    print(json.dumps({"check": checked - began, "open": opened - checked}))


def measure(name, python, rounds):
    import onnx

    import zoo
    from export.convert.conversion import convert_endpoint
    from export.model.wrapping import make_endpoint

    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        onnx.save(convert_endpoint(make_endpoint(zoo.build(name)), 17), model)
        found = {}
        for _ in range(rounds + 1):
            for kind in (PLAIN, KEPT, OPENVINO, OPENVINO_KEPT):
                which = python if kind.startswith(OPENVINO) else sys.executable
                command = [which, __file__, "--start", kind, str(model), folder]
                said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                found.setdefault(kind, []).append(json.loads(said) if said else None)
        for plain, kept in ((PLAIN, KEPT), (OPENVINO, OPENVINO_KEPT)):
            show(name, plain, found[plain][1:], found[kept][1:])
            if found[kept][0]:
                answers = [np.load(f"{folder}/{kind}.npy") for kind in (plain, kept)]
                assert np.array_equal(*answers), f"{kept} gives other answers"


def show(name, kind, plain, kept):
    if None in plain:
        print(f"{name}: {kind}: not installed", flush=True)
        return
    ratio = statistics.median(a["open"] / (b["open"] + b["check"]) for a, b in zip(plain, kept, strict=True))
    first, second, check = (
        statistics.median(one[part] for one in times) * 1e3
        for times, part in ((plain, "open"), (kept, "open"), (kept, "check"))
    )
    times = f"first {first:.0f} ms, second {second:.0f} ms + {check:.0f} ms for the check"
    print(f"{name}: {kind}: {times}; first / second {ratio:.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=["resnet20", "resnet50", "preact_resnet1001"])
    parser.add_argument("--openvino", metavar="PYTHON", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--start", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.start:
        start(*options.start)
        return
    for name in options.networks:
        measure(name, options.openvino, options.rounds)


if __name__ == "__main__":
    sys.exit(main())
