"""What importing the packages costs, above what importing Keras costs.

    python benchmarks/imports.py [--rounds 9]

Each import is timed in a new process, in turns; starting Python is not counted.
"""

import argparse
import subprocess
import sys

from harness import ROOT, alternate, ratio, shown, spread, write

PACKAGES = ("keras", "keras_skip", "zoo", "export")
TIMED = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def importing(package):
    done = subprocess.run(
        [sys.executable, "-c", TIMED.format(package)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return float(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", help="a file for the figures")
    options = parser.parse_args()
    importing("keras")  # reads the files into memory
    times = alternate({package: lambda package=package: importing(package) for package in PACKAGES}, options.rounds)
    figures = {
        package: {"seconds": spread(times[package]), "ratio": ratio(times, package, "keras")} for package in PACKAGES
    }
    for package, found in figures.items():
        print(f"import {package}: {found['seconds']['median']:.3f} s, over import keras {shown(found['ratio'])}")
    if options.json:
        write(options.json, {"rounds": options.rounds}, figures)


if __name__ == "__main__":
    main()
