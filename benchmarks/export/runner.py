"""Runs a network under one runtime, in any interpreter that has it: a script for the latency benchmark.

    python runner.py KIND NAME FOLDER

It writes the probabilities of all pixels into the folder, says "ready", and answers each line with a batch size by the
seconds of a run. If a package is missing, it says so instead.
"""

import sys
import time
from pathlib import Path

import numpy as np


def open_onnxruntime(file, provider="CPUExecutionProvider", **options):
    import onnxruntime

    if provider not in onnxruntime.get_available_providers():
        raise ModuleNotFoundError(f"onnxruntime has no {provider}")
    session = onnxruntime.InferenceSession(file, providers=[(provider, options)])
    return lambda pixels: session.run(None, {"image": pixels})[0]


def open_openvino(file):
    """Compiles the file with OpenVINO, in float32 instead of the bfloat16 that it prefers on some processors."""
    import openvino

    compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda pixels: compiled(pixels)[0]


def open_torch(name, folder, compiled):
    import torch
    from torch_networks import load_endpoint

    network = load_endpoint(name, Path(folder))
    if compiled:
        network = torch.compile(network)

    def run(pixels):
        with torch.inference_mode():
            return network(torch.from_numpy(pixels)).numpy()

    return run


def open_kind(kind, name, folder):
    if kind in ("torch", "torch.compile"):
        return open_torch(name, folder, kind == "torch.compile")
    if kind == "openvino":
        return open_openvino(f"{folder}/ours.onnx")
    if kind == "ours on openvino":
        options = {"device_type": "CPU", "precision": "FP32"}
        return open_onnxruntime(f"{folder}/ours.onnx", "OpenVINOExecutionProvider", **options)
    return open_onnxruntime(f"{folder}/{kind.removesuffix('.onnx')}.onnx")


def main(kind, name, folder):
    pixels = np.load(f"{folder}/pixels.npy")
    try:
        run = open_kind(kind, name, folder)
    except ModuleNotFoundError as error:
        print(f"not installed ({error})", flush=True)
        return
    np.save(f"{folder}/{kind}.npy", run(pixels))
    run(pixels[:1])
    print("ready", flush=True)
    for line in sys.stdin:
        batch = pixels[: int(line)]
        start = time.perf_counter()
        run(batch)
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
