"""Runs files exported for a version of onnxruntime in that version.

    python -m benchmarks.export.runtimes FOLDER [FOLDER ...]

Each folder holds one version and nothing else:

    pip install --no-deps --target FOLDER onnxruntime==1.17.3 "numpy<2"    # "numpy<2" up to onnxruntime 1.18

A network of each kind (convolution, attention, recurrent, resizing, table) is exported with for_runtime=, runs there on
random inputs, and is compared with Keras. The newest opset and IR version of the table in export/convert/versions.py
come from onnxruntime's documentation; this checks them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

RUN = """
import json, sys
import numpy as np, onnxruntime
folder, found = sys.argv[1], {}
for name in sys.argv[2:]:
    with np.load(f"{folder}/{name}.npz") as arrays:
        batch = {key: arrays[key] for key in arrays.files if key != "expected"}
        session = onnxruntime.InferenceSession(f"{folder}/{name}.onnx", providers=["CPUExecutionProvider"])
        found[name] = float(np.abs(session.run(None, batch)[0] - arrays["expected"]).max())
print(json.dumps(found))
"""
VERSION = "import onnxruntime; print(onnxruntime.__version__)"


def run_there(folder, code, *arguments):
    """Runs Python code with the packages of a folder, and returns what it prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout.strip()


def write_networks(folder, version):
    """Exports a network of each kind for a version, and returns the opset and the IR version."""
    import onnx

    import export
    from tests.export.test_opsets import KINDS, draw_batch

    for name, (make, _) in KINDS.items():
        model, batch = make(), draw_batch(name)
        file = export.to_onnx(model, folder / f"{name}.onnx", for_runtime=version)
        given = list(batch.values()) if len(batch) > 1 else batch["input"]
        np.savez(folder / f"{name}.npz", expected=np.asarray(model(given, training=False)), **batch)
    written = onnx.load(file)
    return {entry.domain: entry.version for entry in written.opset_import}[""], written.ir_version, list(KINDS)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="a version of onnxruntime")
    for folder in parser.parse_args().folders:
        version = run_there(folder, VERSION)
        with tempfile.TemporaryDirectory() as there:
            opset, ir_version, names = write_networks(Path(there), version)
            found = json.loads(run_there(folder, RUN, there, *names))
        differences = ", ".join(f"{name} {value:.1e}" for name, value in found.items())
        print(f"onnxruntime {version}: opset {opset}, IR version {ir_version}; differences: {differences}", flush=True)


if __name__ == "__main__":
    main()
