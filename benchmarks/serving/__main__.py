"""Compares `keras-skip serve` with a bare onnxruntime loop and with the KServe SDK, on one artifact, in one run.

    python -m benchmarks.serving ARTIFACT [--requests 10000] [--clients 32] [--rounds 3] [--kserve PYTHON]

Each request holds one random example in the protocol's binary form. A client keeps its connection open and sends its
next request as soon as the last one is answered; all clients run in this process, beside the server. The benchmark
compares every answer with that of the artifact's own predictor. The loop runs the same examples one after the other,
with onnxruntime's defaults. CPU is the processor time of the server, or of the loop, for one request (Linux). The
servers and the loop take turns within a round; a ratio compares two rates of one round.

--kserve names an interpreter that has kserve and onnxruntime; without it the KServe SDK is left out. --no-batching also
measures `keras-skip serve` with batches of one.
"""

import argparse
import json
import os
import platform
import statistics
from pathlib import Path
from typing import NamedTuple

import numpy as np

import export

from .clients import build_requests, send_requests
from .servers import LOOP, cpu_seconds, find_port, make_commands, run_loop, run_server


class Examples(NamedTuple):
    """Random images, the answers of the predictor, and the names of the input and the output."""

    images: np.ndarray
    answers: np.ndarray
    input: str
    output: str


def parse_options():
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__.splitlines()[0])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kserve", help="an interpreter that has kserve and onnxruntime")
    parser.add_argument("--no-batching", action="store_true", help="measure batches of one as well")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--log", type=Path, default=Path(os.devnull), help="a file for the output of the servers")
    parser.add_argument("--options", default="", help="further options of keras-skip serve")
    return parser.parse_args()


def make_examples(artifact):
    """Draws examples for an artifact that takes pixels, and asks its predictor for the answers."""
    predictor = export.load(artifact)
    (declared,) = predictor.metadata["inputs"]
    if declared["dtype"] != "uint8":
        raise SystemExit(f"Expected an artifact that takes pixels. Received: {declared}")
    generator = np.random.default_rng(0)
    # Noise on a level that differs from example to example: pure noise looks much the same to a network.
    levels = generator.integers(0, 192, (256, 1, 1, 1), dtype="uint8")
    images = levels + generator.integers(0, 64, (256, *declared["shape"][1:]), dtype="uint8")
    answers = np.concatenate([predictor(x[None]) for x in images])
    if np.ptp(answers, axis=0).max() < 0.01:
        raise SystemExit("The artifact gives equal answers, so the benchmark would not notice a wrong one.")
    return Examples(images, answers, declared["name"], predictor.metadata["outputs"][0]["name"])


def measure_round(options, commands, examples, number):
    """Measures the loop and each server once; each round starts with another server."""
    found = {LOOP: run_loop(options.artifact / "model.onnx", examples.input, examples.images, options.requests)}
    names = list(commands)[number % len(commands) :] + list(commands)[: number % len(commands)]
    for server in names:
        port = find_port()
        requests = build_requests(
            "/v2/models/model/infer", examples.input, examples.output, examples.images, "UINT8", port
        )
        with run_server(commands[server](port), port, options.log) as process:
            send_requests(port, requests, examples.answers, 200, options.clients)
            before = cpu_seconds(process)
            found[server] = send_requests(port, requests, examples.answers, options.requests, options.clients)
            found[server]["cpu_ms"] = (cpu_seconds(process) - before) / options.requests * 1e3
    return found


def summarise(rounds, server):
    """Returns the medians over the rounds, the sums of lost and wrong answers, and the ratios to the loop."""
    figures = {key: statistics.median(found[server][key] for found in rounds) for key in rounds[0][server]}
    figures |= {key: sum(found[server][key] for found in rounds) for key in ("lost", "wrong")}
    ratios = [found[server]["requests_per_second"] / found[LOOP]["requests_per_second"] for found in rounds]
    return figures | {"of_the_loop": statistics.median(ratios), "of_the_loop_each_round": ratios}


def print_summary(options, summary):
    print(f"\n{options.requests} requests, {options.clients} clients, {os.cpu_count()} cores, {platform.processor()}")
    print(f"| {'':32} | requests/s | of the loop | p50 ms | p99 ms | CPU ms | lost | wrong |")
    print(f"|{'-' * 34}|------------|-------------|--------|--------|--------|------|-------|")
    for server, figures in summary.items():
        print(
            f"| {server:32} | {figures['requests_per_second']:10.0f} | {figures['of_the_loop']:11.2f} "
            f"| {figures['p50_ms']:6.1f} | {figures['p99_ms']:6.1f} | {figures['cpu_ms']:6.2f} "
            f"| {figures['lost']:4} | {figures['wrong']:5} |"
        )


def main():
    options = parse_options()
    examples = make_examples(options.artifact)
    commands = make_commands(options.artifact, options.options.split(), not options.no_batching, options.kserve)
    rounds = []
    for number in range(options.rounds):
        rounds.append(measure_round(options, commands, examples, number))
        line = ", ".join(f"{key} {figures['requests_per_second']:.0f}/s" for key, figures in rounds[-1].items())
        print(f"round {number + 1}/{options.rounds}: {line}", flush=True)
    summary = {server: summarise(rounds, server) for server in (LOOP, *commands)}
    print_summary(options, summary)
    if options.json:
        record = {"requests": options.requests, "clients": options.clients, "cores": os.cpu_count(), "rounds": rounds}
        options.json.write_text(json.dumps(record | {"summary": summary}, indent=2) + "\n")


if __name__ == "__main__":
    main()
