"""Measures importing the packages, against importing Keras, and starting the command line.

    python -m benchmarks.imports [--rounds 9]

Each runs in a new process, in turns. The time of an import leaves out starting Python; that of the command includes it.
"""

import argparse
import subprocess
import sys

from .harness import ROOT, alternate, format_spread, parse_options, ratio, seconds, spread, write_result

PACKAGES = ("keras", "keras_skip", "zoo", "export")
HELP = "keras-skip --help"
TIMED = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def time_import(package):
    done = subprocess.run(
        [sys.executable, "-c", TIMED.format(package)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return float(done.stdout)


def run_help():
    subprocess.run([sys.executable, "-m", "zoo.cli", "--help"], capture_output=True, check=True, cwd=ROOT)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    options = parse_options(parser)
    time_import("keras")  # reads the files into memory
    timers = {f"import {package}": lambda package=package: time_import(package) for package in PACKAGES}
    times = alternate(timers | {HELP: lambda: seconds(run_help)}, options.rounds)
    figures = {name: {"seconds": spread(times[name]), "ratio": ratio(times, name, "import keras")} for name in times}
    for name, found in figures.items():
        print(f"{name}: {found['seconds']['median']:.3f} s, over import keras {format_spread(found['ratio'])}")
    if options.json:
        write_result(options.json, {"rounds": options.rounds}, figures)


if __name__ == "__main__":
    main()
