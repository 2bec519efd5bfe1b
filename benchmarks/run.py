"""Runs the benchmarks of the layers and writes their figures into benchmarks/results: `make bench`.

    python benchmarks/run.py [NAME ...]

Each benchmark is a process of its own. NAME.json holds its figures with the machine and the versions they come from;
README.md shows all that are there as tables, and recompute.svg the memory against the depth.
"""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

HERE = Path(__file__).parent
RESULTS = HERE / "results"
NAMES = ("stochastic_depth", "recompute")


def machine():
    from zoo.environment import environment, now, versions

    try:
        processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[1]
    except (OSError, TypeError):
        processor = platform.processor()
    return {"when": now(), "processor": processor, "system": platform.system(), **environment(), "versions": versions()}


def run(name):
    path = RESULTS / f"{name}.json"
    subprocess.run([sys.executable, HERE / f"{name}.py", "--json", path], check=True)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"machine": machine()}, indent=1) + "\n")


def heading(name, result):
    found = result["machine"]
    versions = ", ".join(f"{package} {version}" for package, version in found["versions"].items())
    given = ", ".join(f"{key} {value}" for key, value in result["arguments"].items() if isinstance(value, int))
    return f"## {name}\n\n{given}. {found['processor']}, {found['cores']} cores; {versions}; {found['when']}.\n\n"


def stochastic_depth_table(figures):
    rows = [f"| {name} | {value:.3f} |" for name, value in figures.items()]
    return "\n".join(["| stochastic_resnet against resnet | |", "|---|---|", *rows])


def recompute_table(figures):
    lines = ["| network | depth | MiB | with recompute | ratio |", "|---|---|---|---|---|"]
    for network, found in figures.items():
        for row in found["memory"]:
            depth, plain, recomputed = row.values()
            lines.append(f"| {network} | {depth} | {plain:.0f} | {recomputed:.0f} | {recomputed / plain:.2f} |")
    lines += ["", "| time with recompute / without | minimum | median | maximum |", "|---|---|---|---|"]
    for network, found in figures.items():
        for kind in ("clock", "processor"):
            values = " | ".join(f"{value:.2f}" for value in found[kind].values())
            lines.append(f"| {network} {found['memory'][-1]['depth']}, by the {kind} | {values} |")
    return "\n".join(lines)


def memory_figure(figures):
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(figures), figsize=(4 * len(figures), 3.2), squeeze=False)
    for axis, (network, found) in zip(axes[0], figures.items(), strict=True):
        for kind in ("plain (MiB)", "recomputed (MiB)"):
            points = [(row["depth"], row[kind]) for row in found["memory"]]
            axis.plot(*zip(*points, strict=True), marker="o", label=kind.removesuffix(" (MiB)"))
        axis.set(title=network, xlabel="depth", ylabel="MiB of a training step", ylim=(0, None))
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(RESULTS / "recompute.svg")


def main():
    RESULTS.mkdir(exist_ok=True)
    for name in sys.argv[1:] or NAMES:
        run(name)
    page = "# Results of the benchmarks\n\n`make bench` measures them again and writes this page.\n\n"
    for name, table in (("stochastic_depth", stochastic_depth_table), ("recompute", recompute_table)):
        path = RESULTS / f"{name}.json"
        if path.exists():
            result = json.loads(path.read_text())
            page += heading(name, result) + table(result["figures"]) + "\n\n"
            if name == "recompute":
                memory_figure(result["figures"])
                page += "![Memory of a training step against depth](recompute.svg)\n\n"
    (RESULTS / "README.md").write_text(page.rstrip() + "\n")


if __name__ == "__main__":
    main()
