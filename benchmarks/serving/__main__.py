"""`keras-skip serve` against a bare onnxruntime loop and against the KServe SDK, on the same artifact, in one run.

    python -m benchmarks.serving ARTIFACT [--requests 10000] [--clients 32] [--rounds 3] [--kserve PYTHON]

Each request holds one random example, in the protocol's binary form. Clients are connections that are kept open, each
of which sends its next request when the last one is answered; they run beside the server, all in this process.
Every answer is compared with what the artifact's own predictor gives. The loop runs the same examples one after the
other, with onnxruntime's defaults. CPU is the server's own, or the loop's, for one request (Linux). What is compared
takes turns within a round; ratios are those of a round.

The KServe SDK is run by the interpreter that --kserve names, one that has kserve and onnxruntime; without one it is
left out. --no-batching also measures `keras-skip serve` with batches of one.
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

import export

ROOT = Path(export.__file__).parents[1]
LOOP, OURS, ONE_BY_ONE, KSERVE = "onnxruntime loop", "keras-skip serve", "keras-skip serve, batches of 1", "KServe SDK"

KSERVE_SERVER = """
import logging, sys
import onnxruntime
from kserve import InferOutput, InferResponse, Model, ModelServer

class Served(Model):
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
server.start([Served(sys.argv[1], sys.argv[2])])
"""


def body(name, output, x, datatype):
    wanted = {"name": output, "parameters": {"binary_data": True}}
    tensor = {"name": name, "shape": [1, *x.shape], "datatype": datatype, "parameters": {"binary_data_size": x.nbytes}}
    header = json.dumps({"id": "1", "inputs": [tensor], "outputs": [wanted]}).encode()
    return header, header + x.tobytes()


def requests_of(path, name, output, examples, datatype, port):
    made = []
    for x in examples:
        header, content = body(name, output, x, datatype)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/octet-stream\r\n"
            f"Inference-Header-Content-Length: {len(header)}\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        made.append(head.encode() + content)
    return made


class Client(asyncio.Protocol):
    """One connection, that sends its next request when the last one is answered."""

    def __init__(self, take, requests, check, times, done):
        self.take, self.requests, self.check, self.times, self.done = take, requests, check, times, done
        self.received, self.number = b"", None

    def connection_made(self, transport):
        self.transport = transport
        self.send()

    def send(self):
        self.number = next(self.take, None)
        if self.number is None:
            self.done.set_result(None)
            self.transport.close()
            return
        self.received, self.start = b"", time.perf_counter()
        self.transport.write(self.requests[self.number % len(self.requests)])

    def data_received(self, data):
        self.received += data
        head, separator, content = self.received.partition(b"\r\n\r\n")
        if not separator:
            return
        lines = head.decode().lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        if len(content) < int(headers["content-length"]):
            return
        self.times.append(time.perf_counter() - self.start)
        self.check(self.number, int(lines[0].split()[1]), headers, content)
        self.send()

    def connection_lost(self, exc):
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("The server has closed a connection."))


def load(port, requests, expected, count, clients):
    """Sends requests; gives the seconds of all, of each, and how many answers were lost or wrong."""
    times, wrong, lost = [], [], []

    def check(number, status, headers, content):
        if status != 200:
            lost.append(number)
            return
        size = int(headers.get("inference-header-content-length", 0))
        # A server may answer in JSON all the same.
        y = np.frombuffer(content[size:], "<f4") if size else np.array(json.loads(content)["outputs"][0]["data"])
        reference = expected[number % len(expected)]
        if y.shape != reference.shape or np.max(np.abs(y - reference)) > 1e-5:
            wrong.append(number)

    async def run():
        loop, take = asyncio.get_running_loop(), iter(range(count))
        start = time.perf_counter()
        finished = [loop.create_future() for _ in range(clients)]
        for done in finished:
            await loop.create_connection(
                lambda done=done: Client(take, requests, check, times, done), "127.0.0.1", port
            )
        await asyncio.gather(*finished)
        return time.perf_counter() - start

    seconds = asyncio.run(run())
    return {
        "requests_per_second": count / seconds,
        "lost": count - len(times) + len(lost),
        "wrong": len(wrong),
        **{f"p{q}_ms": float(np.percentile(times, q)) * 1e3 for q in (50, 99)},
    }


def cpu_seconds(process):
    """The processor time a process has had so far, which other work on the machine does not change much."""
    with open(f"/proc/{process.pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(command, port, environment, log):
    with log.open("ab") as file:
        server = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        import urllib.request

        for _ in range(600):
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=1):
                break
            if server.poll() is not None:
                raise RuntimeError(f"Expected a server. Received: exit code {server.returncode}; see {log}")
            time.sleep(0.1)
        yield server
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def bare_loop(path, name, examples, count):
    import onnxruntime

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
    return {
        "requests_per_second": count / seconds,
        "cpu_ms": (time.process_time() - cpu) / count * 1e3,
        "lost": 0,
        "wrong": 0,
        **{f"p{q}_ms": float(np.percentile(times, q)) * 1e3 for q in (50, 99)},
    }


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kserve", help="an interpreter that has kserve and onnxruntime")
    parser.add_argument("--no-batching", action="store_true", help="measure batches of one as well")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--log", type=Path, default=Path(os.devnull), help="what the servers print")
    parser.add_argument("--options", default="", help="of keras-skip serve")
    options = parser.parse_args()

    predictor = export.load(options.artifact)
    (declared,) = predictor.metadata["inputs"]
    name, output = declared["name"], predictor.metadata["outputs"][0]["name"]
    generator = np.random.default_rng(0)
    if declared["dtype"] != "uint8":
        parser.error(f"Expected an artifact that takes pixels. Received: {declared}")
    # Noise on a level that differs from example to example: pure noise looks much the same to a network.
    levels = generator.integers(0, 192, (256, 1, 1, 1), dtype="uint8")
    examples = levels + generator.integers(0, 64, (256, *declared["shape"][1:]), dtype="uint8")
    expected = np.concatenate([predictor(x[None]) for x in examples])
    if np.ptp(expected, axis=0).max() < 0.01:
        parser.error(
            "Expected an artifact whose answers differ, so that a wrong one is noticed. Received: equal answers"
        )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def ours(*more):
        port = free_port()
        served = [sys.executable, "-m", "zoo.cli", "serve", f"model={options.artifact}", "--no-access-log"]
        return [*served, "--port", str(port), *options.options.split(), *more], port

    def kserve():
        port = free_port()
        file = str(options.artifact / "model.onnx")
        return [options.kserve, "-c", KSERVE_SERVER, "model", file, str(port)], port

    servers = {OURS: ours}
    if options.no_batching:
        servers[ONE_BY_ONE] = lambda: ours("--max-batch-size", "1")
    if options.kserve:
        servers[KSERVE] = kserve
    rounds = []
    for number in range(options.rounds):
        round_ = {LOOP: bare_loop(options.artifact / "model.onnx", name, examples, options.requests)}
        # Whoever comes first changes from round to round.
        names = list(servers)[number % len(servers) :] + list(servers)[: number % len(servers)]
        for server in names:
            command, port = servers[server]()
            made = requests_of("/v2/models/model/infer", name, output, examples, "UINT8", port)
            with running(command, port, environment, options.log) as process:
                load(port, made, expected, 200, options.clients)
                before = cpu_seconds(process)
                round_[server] = load(port, made, expected, options.requests, options.clients)
                round_[server]["cpu_ms"] = (cpu_seconds(process) - before) / options.requests * 1e3
        rounds.append(round_)
        told = ", ".join(f"{key} {figures['requests_per_second']:.0f}/s" for key, figures in round_.items())
        print(f"round {number + 1}/{options.rounds}: {told}", flush=True)

    print(f"\n{options.requests} requests, {options.clients} clients, {os.cpu_count()} cores, {platform.processor()}")
    print(f"| {'':32} | requests/s | of the loop | p50 ms | p99 ms | CPU ms | lost | wrong |")
    print(f"|{'-' * 34}|------------|-------------|--------|--------|--------|------|-------|")
    summary = {}
    for server in (LOOP, *servers):
        figures = {key: statistics.median(r[server][key] for r in rounds) for key in rounds[0][server]}
        figures |= {key: sum(r[server][key] for r in rounds) for key in ("lost", "wrong")}
        ratios = [r[server]["requests_per_second"] / r[LOOP]["requests_per_second"] for r in rounds]
        summary[server] = figures | {"of_the_loop": statistics.median(ratios), "of_the_loop_each_round": ratios}
        print(
            f"| {server:32} | {figures['requests_per_second']:10.0f} | {statistics.median(ratios):11.2f} "
            f"| {figures['p50_ms']:6.1f} | {figures['p99_ms']:6.1f} | {figures['cpu_ms']:6.2f} "
            f"| {figures['lost']:4} | {figures['wrong']:5} |"
        )
    if options.json:
        record = {"requests": options.requests, "clients": options.clients, "cores": os.cpu_count(), "rounds": rounds}
        options.json.write_text(json.dumps(record | {"summary": summary}, indent=2) + "\n")


if __name__ == "__main__":
    main()
