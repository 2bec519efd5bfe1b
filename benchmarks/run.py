"""Runs benchmarks and writes their figures into benchmarks/results: `make bench`.

    python -m benchmarks.run [PART ...]

Without parts it runs all. Each part runs in its own process and writes PART.json with the machine and the versions
that its figures come from. To resume a run that was stopped, name the parts that are left. After each part it writes
the page README.md and draws the pictures from all files that are there; the part "page" does only that.
"""

import argparse
import subprocess
import sys
import time

from .harness import RESULTS, ROOT
from .page import PARTS, write_page


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, "page"], default=list(PARTS), metavar="PART")
    names = [name for name in parser.parse_args().parts if name != "page"]
    RESULTS.mkdir(exist_ok=True)
    failed = []
    start = time.monotonic()
    for number, name in enumerate(names, 1):
        left = sum(PARTS[later].minutes for later in names[number - 1 :])
        passed = (time.monotonic() - start) / 60
        print(f"== {number}/{len(names)} {name}: {passed:.0f} min passed, about {left:.0f} min left", flush=True)
        command = [sys.executable, "-m", PARTS[name].module, "--json", RESULTS / f"{name}.json"]
        if subprocess.run(command, cwd=ROOT).returncode:
            failed.append(name)
        write_page()
    write_page()
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}; the results still hold their earlier figures.")
    print(f"{RESULTS / 'README.md'}, after {(time.monotonic() - start) / 60:.0f} min")


if __name__ == "__main__":
    main()
