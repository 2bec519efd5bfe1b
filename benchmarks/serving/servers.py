"""The servers and the loop that the benchmark compares."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress

import onnxruntime

from ..harness import ROOT
from .clients import percentiles

LOOP, OURS, ONE_BY_ONE, KSERVE = "onnxruntime loop", "keras-skip serve", "keras-skip serve, batches of 1", "KServe SDK"

KSERVE_SERVER = """
import logging, sys
import onnxruntime
from kserve import InferOutput, InferResponse, Model, ModelServer

class OnnxModel(Model):
    def __init__(self, name, path):
        super().__init__(name)
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.ready = True

    def predict(self, payload, headers=None, response_headers=None):
        inputs = {tensor.name: tensor.as_numpy() for tensor in payload.inputs}
        outputs = []
        for output, y in zip(self.session.get_outputs(), self.session.run(None, inputs)):
            outputs.append(InferOutput(output.name, list(y.shape), "FP32"))
            outputs[-1].set_data_from_numpy(y, binary_data=True)
        return InferResponse(payload.id or "", self.name, outputs)

logging.disable(logging.INFO)
server = ModelServer(http_port=int(sys.argv[3]), enable_grpc=False, enable_latency_logging=False)
server.start([OnnxModel(sys.argv[1], sys.argv[2])])
"""


def make_commands(artifact, options, batching, kserve):
    """Returns for each server a function from a port to the command that starts it.

    Args:
        artifact: The path of the artifact.
        options: Further options of `keras-skip serve`.
        batching: Whether to leave out batches of one.
        kserve: The interpreter of the KServe SDK, or None to leave it out.
    """
    serve = [sys.executable, "-m", "zoo.cli", "serve", f"model={artifact}", "--no-access-log", *options]
    commands = {OURS: lambda port: [*serve, "--port", str(port)]}
    if not batching:
        commands[ONE_BY_ONE] = lambda port: [*serve, "--port", str(port), "--max-batch-size", "1"]
    if kserve:
        file = str(artifact / "model.onnx")
        commands[KSERVE] = lambda port: [kserve, "-c", KSERVE_SERVER, "model", file, str(port)]
    return commands


@contextmanager
def run_server(command, port, log):
    """Runs a server until the block ends; the block starts when the server is ready."""
    with log.open("ab") as file:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        server = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        for _ in range(600):
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=1):
                break
            if server.poll() is not None:
                raise RuntimeError(f"The server has ended with exit code {server.returncode}; see {log}.")
            time.sleep(0.1)
        yield server
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def cpu_seconds(process):
    """Returns the processor time of a process so far, which other load on the machine changes little."""
    with open(f"/proc/{process.pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def find_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run_loop(path, name, examples, count):
    """Runs examples one after the other in onnxruntime, without a server."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    batches = [{name: x[None]} for x in examples]
    session.run(None, batches[0])
    times = []
    start, cpu = time.perf_counter(), time.process_time()
    for number in range(count):
        began = time.perf_counter()
        session.run(None, batches[number % len(batches)])
        times.append(time.perf_counter() - began)
    seconds = time.perf_counter() - start
    cpu_ms = (time.process_time() - cpu) / count * 1e3
    return {"requests_per_second": count / seconds, "cpu_ms": cpu_ms, "lost": 0, "wrong": 0, **percentiles(times)}
