"""Runs the benchmarks of the layers and writes their figures into benchmarks/results: `make bench`.

    python benchmarks/run.py [PART ...]

Without parts it runs all. Each part is a process of its own, and writes PART.json with the machine and the versions
that its figures come from; a run that was stopped goes on with the parts that are named. After each part the page
README.md and the pictures are made again from all the files that are there, which "page" alone does too.
"""

import argparse
import subprocess
import sys
import time

from harness import HERE, RESULTS
from page import PARTS, write_page


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, "page"], default=list(PARTS), metavar="PART")
    names = [name for name in parser.parse_args().parts if name != "page"]
    RESULTS.mkdir(exist_ok=True)
    failed = []
    start = time.monotonic()
    for place, name in enumerate(names, 1):
        left = sum(PARTS[later].minutes for later in names[place - 1 :])
        passed = (time.monotonic() - start) / 60
        print(f"== {place}/{len(names)} {name}: {passed:.0f} min passed, about {left:.0f} min left", flush=True)
        command = [sys.executable, HERE / f"{name}.py", "--json", RESULTS / f"{name}.json"]
        if subprocess.run(command).returncode:
            failed.append(name)
        write_page()
    write_page()
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}; their figures are those that were there before.")
    print(f"{RESULTS / 'README.md'}, after {(time.monotonic() - start) / 60:.0f} min")


if __name__ == "__main__":
    main()
