"""Exports networks from other packages for Keras 3, with keras-skip and with Keras's own exporter.

    pip install --no-deps -r benchmarks/published/requirements.txt
    python -m benchmarks.export.published [PATTERN] [--json FILE] [--minutes 10] [--again]

The folder benchmarks/published lists them: small, with new weights. Each runs in its own process for --minutes at most,
so that a crash is a row of the table and not its end. Keras's answers to batches of 1 and 2 judge both files by the
rules of `export.to_onnx`: a file is proven if onnxruntime, with and without its optimisations, is as near to Keras as
rounding explains. The seconds are those of writing the file, without the proof.

The figures are written after each network. A later run measures the networks that are missing, or with --again all that
match the pattern; one that was proven before and is not any more is then an error.
"""

import argparse
import fnmatch
import json
import multiprocessing
import sys
import tempfile
import time
from importlib import util
from pathlib import Path

from ..harness import RESULTS, parse_options, write_result
from ..published import NETWORKS
from .exporters import EXPORTERS, export_both

# What each process needs is imported once, by the server that forks them.
SHARED = ("keras", "tensorflow", "onnx", "tf2onnx", "export.proof.prove", "kimm", "kyolo", "medicai", "keras_hub")

EXITS = {-9: "killed, as a process that takes all memory is"}


def send_case(network, exporters, pipe):
    # An exporter that takes all memory ends this process, and no other.
    Path("/proc/self/oom_score_adj").write_text("1000", encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        for found in export_both(network, exporters, Path(folder)):
            pipe.send(found)


def run_case(network, exporters, minutes):
    """Returns what a process of its own finds until it ends."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([x for x in SHARED if util.find_spec(x.split(".")[0])])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=send_case, args=(network, exporters, sender))
    process.start()
    sender.close()
    found, end, stopped = {}, time.monotonic() + 60 * minutes, {}
    try:
        while receiver.poll(max(0, end - time.monotonic())):
            found |= receiver.recv()
        stopped = {"result": "too slow", "error": f"not done after {minutes:g} minutes"}
        process.kill()
    except EOFError:
        pass
    process.join()
    if process.exitcode and not stopped:
        stopped = {"result": "crashed", "error": EXITS.get(process.exitcode, f"exit code {process.exitcode}")}
    if stopped:
        found = found or {"built": False, "error": stopped["error"]}
        found[next((name for name in exporters if name not in found), exporters[-1])] = stopped
    return found


def measure(network, minutes):
    found = run_case(network, EXPORTERS, minutes)
    if found["built"] and EXPORTERS[1] not in found:
        found |= run_case(network, EXPORTERS[1:], minutes)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pattern", nargs="?", default="*")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--again", action="store_true", help="measure what matches again")
    parser.set_defaults(json=RESULTS / "published.json")
    options = parse_options(parser)
    path = Path(options.json)
    rows = json.loads(path.read_text(encoding="utf-8"))["figures"] if path.exists() else {}
    chosen = [x for x in NETWORKS if fnmatch.fnmatchcase(x.name, options.pattern)]
    print(f"Not installed: {', '.join(sorted({x.package for x in chosen if not x.installed})) or 'none'}", flush=True)
    waiting = [x for x in chosen if x.installed and (options.again or x.name not in rows)]
    start, lost = time.monotonic(), []
    for number, network in enumerate(waiting, 1):
        name = network.name
        earlier, rows[name] = rows.get(name, {}), measure(network, options.minutes)
        results = {exporter: rows[name].get(exporter, {}).get("result") for exporter in EXPORTERS}
        lost += [(name, x) for x in EXPORTERS[:1] if earlier.get(x, {}).get("result") == "proven" != results[x]]
        passed = (time.monotonic() - start) / 60
        left = passed / number * (len(waiting) - number)
        print(f"{number}/{len(waiting)} {name}: {results}, {passed:.1f} min, about {left:.0f} to go", flush=True)
        ordered = {x.name: rows[x.name] for x in NETWORKS if x.name in rows}
        write_result(path, {"minutes": options.minutes}, ordered)
    if lost:
        sys.exit(f"Proven before and not now: {lost}")


if __name__ == "__main__":
    main()
