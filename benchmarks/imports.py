"""What importing the packages costs, above what importing Keras costs; and what the command line takes to answer.

    python benchmarks/imports.py [--rounds 9]

Each is timed in a new process, in turns. Of an import, starting Python is not counted; of the command's help it is.
"""

import argparse
import subprocess
import sys

from harness import ROOT, alternate, parsed, ratio, seconds, shown, spread, write

PACKAGES = ("keras", "keras_skip", "zoo", "export")
HELP = "keras-skip --help"
TIMED = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def importing(package):
    done = subprocess.run(
        [sys.executable, "-c", TIMED.format(package)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return float(done.stdout)


def help_():
    subprocess.run([sys.executable, "-m", "zoo.cli", "--help"], capture_output=True, check=True, cwd=ROOT)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    options = parsed(parser)
    importing("keras")  # reads the files into memory
    timers = {f"import {package}": lambda package=package: importing(package) for package in PACKAGES}
    times = alternate(timers | {HELP: lambda: seconds(help_)}, options.rounds)
    figures = {name: {"seconds": spread(times[name]), "ratio": ratio(times, name, "import keras")} for name in times}
    for name, found in figures.items():
        print(f"{name}: {found['seconds']['median']:.3f} s, over import keras {shown(found['ratio'])}")
    if options.json:
        write(options.json, {"rounds": options.rounds}, figures)


if __name__ == "__main__":
    main()
