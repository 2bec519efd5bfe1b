"""The page of the results, benchmarks/results/README.md: a table for each part that has been measured."""

import json
from collections.abc import Callable
from typing import NamedTuple

import figures as pictures
from harness import RESULTS


class Part(NamedTuple):
    """How long a part takes on two cores, in minutes; what its figures are called, and how they are shown."""

    minutes: float
    title: str
    table: Callable
    picture: Callable | None = None
    caption: str = ""


def table(heads, rows):
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def ratio(found):
    return f"{found['median']:.3f} ({found['minimum']:.3f}–{found['maximum']:.3f})"


def time(found):
    seconds = found["median"]
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def steps_table(figures):
    rows = []
    for name, found in figures["networks"].items():
        for kind in ("train", "infer"):
            ratios = found[kind]["ratios"]
            mine = [ratio(ratios[rival]) if rival in ratios else "" for rival in RIVALS]
            rows.append([name, found["batch"], kind, time(found[kind]["seconds"]), *mine])
    text = table(["network", "batch", "", "keras-skip", *(f"/ {rival}" for rival in RIVALS)], rows)
    for kind, name in (("train", "a training step"), ("infer", "inference")):
        if kind in figures["cost"]:
            text += (
                f"\n**Our layers / plain Keras layers, {name}: {ratio(figures['cost'][kind])}**, over the networks.\n"
            )
    if figures["without PyTorch"]:
        text += f"\nWithout PyTorch: {figures['without PyTorch']}.\n"
    else:
        versions = {found["PyTorch"] for found in figures["networks"].values() if "PyTorch" in found}
        text += f"\nPyTorch {', '.join(sorted(versions))}, eager, channels last.\n"
    return text


RIVALS = ("plain Keras layers", "keras.applications", "PyTorch")


def depth_table(figures):
    rows = [
        [
            kind,
            row["depth"],
            f"{row['built']:.1f} s",
            f"{row['first step']:.1f} s",
            time(row["seconds"]),
            f"{row['MiB']:.0f}",
        ]
        for kind, curve in figures["curves"].items()
        for row in curve
    ]
    text = table(["network", "layers", "to build", "first step", "step", "MiB"], rows)
    for name, minutes in figures["left out"].items():
        text += f"\nLeft out: {name}, stopped after {minutes:g} minutes.\n"
    text += "\nOne step from the same weights on the same batch, at 20 layers, against the plain network's step:\n\n"
    rows = []
    for kind, found in figures["moves"].items():
        for what, value in found.items():
            rows.append([kind, what, f"{value['move']:.3f}", f"{value['difference']:.1e}"])
    return text + table(["network", "what it moves", "how far, plain = 1", "difference to the plain move"], rows)


def batch_table(figures):
    rows = [
        [network, kind, row["batch"], time(row["seconds"]), f"{row['MiB']:.0f}"]
        for network, curves in figures.items()
        for kind, curve in curves.items()
        for row in curve
    ]
    return table(["network", "", "batch", "step", "MiB"], rows)


def imports_table(figures):
    rows = [[f"`{name}`", time(found["seconds"]), ratio(found["ratio"])] for name, found in figures.items()]
    return table(["", "time", "/ `import keras`"], rows)


def onednn_table(figures):
    rows = [[name, time(found["seconds"]), ratio(found["ratio"])] for name, found in figures.items()]
    return table(["", "with oneDNN", "/ without"], rows)


def precision_table(figures):
    rows = [[name, found["batch"], time(found["seconds"]), ratio(found["ratio"])] for name, found in figures.items()]
    return table(["", "batch", "mixed_bfloat16", "/ float32"], rows)


def exports_table(figures):
    rows = [
        [network, way, time(found["seconds"]), f"{found['MiB']['median']:.0f}"]
        for network, of_network in figures.items()
        for way, found in of_network["ways"].items()
    ]
    text = table(["network", "", "time", "MiB"], rows) + "\n"
    rows = [
        [network, ours, theirs, ratio(value)]
        for network, of_network in figures.items()
        for ours, theirs, value in of_network["ratios"]
    ]
    return text + table(["network", "ours", "theirs", "ours / theirs"], rows)


STOCHASTIC_DEPTH = """

The blocks of the first stage take longest and are dropped least, so drops save a smaller share of the time than of
the blocks. The first step takes longer: TensorFlow builds and optimises a function for each alternative of each
block, and for its gradient. Two blocks could share these only if they differed in nothing but their weights, and we
cannot know that of an activation, a normalisation or a layer that a user passes in.
"""


def stochastic_depth_table(figures):
    rows = [[name, f"{value:,.0f}" if value >= 100 else f"{value:.3f}"] for name, value in figures.items()]
    return table(["stochastic_resnet against resnet", ""], rows) + STOCHASTIC_DEPTH


def recompute_table(figures):
    networks = figures["networks"]
    rows = []
    for network, found in networks.items():
        for row in found["memory"]:
            depth, plain, recomputed = row.values()
            rows.append([network, depth, f"{plain:.0f}", f"{recomputed:.0f}", f"{recomputed / plain:.2f}"])
    text = table(["network", "depth", "MiB", "with recompute", "ratio"], rows) + "\n"
    rows = [
        [f"{network} {found['memory'][-1]['depth']}, by the {kind}", ratio(found[kind])]
        for network, found in networks.items()
        for kind in ("clock", "processor")
    ]
    text += table(["time with recompute / without", ""], rows)
    xla = figures["xla"]
    if xla:
        text += f"\nUnder XLA, a dense block of {xla['layers']} layers on JAX {xla['jax']}, device {xla['device']}:\n\n"
        rows = [[row["name"], f"{row['kept']:.1f}", f"{row['taken']:.1f}"] for row in xla["rows"]]
        text += table(["", "MiB kept for the gradient", "MiB that the compiled gradient takes"], rows)
        plain, recomputed = (row["taken"] for row in xla["rows"])
        if xla["device"] == "cpu" and recomputed >= plain:
            text += "\nOn a CPU the compiler merges the second run with the first, so this saves nothing there.\n"
    return text


PARTS = {
    "steps": Part(12, "A training step and inference, compared with other implementations", steps_table),
    "depth": Part(
        65,
        "A training step as depth grows",
        depth_table,
        pictures.depth_picture,
        "Time and memory of a training step against depth",
    ),
    "batch": Part(3, "A training step as the batch grows", batch_table),
    "onednn": Part(4, "oneDNN on this processor", onednn_table),
    "precision": Part(3, "mixed_bfloat16 on this processor", precision_table),
    "imports": Part(2, "Importing, and starting the command line", imports_table),
    "exports": Part(2.5, "Exporting", exports_table),
    "stochastic_depth": Part(4, "Savings of a dropped block", stochastic_depth_table),
    "recompute": Part(
        6,
        "Savings of recomputation",
        recompute_table,
        pictures.recompute_picture,
        "Memory of a training step against depth",
    ),
}

INTRODUCTION = """# Results of the benchmarks

`make bench` measures everything again and writes this page; `make bench PARTS="steps depth"` measures only those
parts. A ratio is our figure divided by theirs. The two take turns within a round; the table gives the median over the
rounds, and the minimum and maximum in brackets. Each file of `benchmarks/` explains at its head how it measures.

"""


def heading(name, part, result):
    machine = result["machine"]
    versions = ", ".join(f"{package} {version}" for package, version in machine["versions"].items())
    chosen = "".join(f", {name}={value}" for name, value in machine["variables"].items())
    arguments = ", ".join(f"{key} {value}" for key, value in result["arguments"].items() if isinstance(value, int))
    return (
        f"## {part.title}\n\n`benchmarks/{name}.py`; {arguments}. {machine['processor']}, {machine['cores']} cores; "
        f"{versions}{chosen}; {machine['when'][:10]}.\n\n"
    )


def write_page():
    page = INTRODUCTION
    for name, part in PARTS.items():
        path = RESULTS / f"{name}.json"
        if not path.exists():
            continue
        result = json.loads(path.read_text())
        page += heading(name, part, result) + part.table(result["figures"]) + "\n"
        if part.picture:
            part.picture(result["figures"])
            page += f"![{part.caption}]({name}.svg)\n\n"
    (RESULTS / "README.md").write_text(page.rstrip() + "\n")
