"""Writes benchmarks/results/README.md, with a table for each part that has been measured."""

import json
from collections.abc import Callable
from typing import NamedTuple

from . import figures as pictures
from .export.published_table import format_published
from .formats import format_ratio, format_table, format_time
from .harness import RESULTS
from .training.tables import format_growth, format_pipelines, format_share


class Part(NamedTuple):
    """A part of `make bench`, and how the page shows its figures.

    Attributes:
        module: The module that measures it; its last name is the part's name.
        minutes: The time that it takes on two cores.
        title: Its heading on the page.
        table: Formats its figures as Markdown.
        picture: Draws its figures.
        caption: The caption of the picture.
    """

    module: str
    minutes: float
    title: str
    table: Callable
    picture: Callable | None = None
    caption: str = ""


def format_steps(figures):
    rows = []
    for name, found in figures["networks"].items():
        for kind in ("train", "infer"):
            ratios = found[kind]["ratios"]
            mine = [format_ratio(ratios[rival]) if rival in ratios else "" for rival in RIVALS]
            rows.append([name, found["batch"], kind, format_time(found[kind]["seconds"]), *mine])
    text = format_table(["network", "batch", "", "keras-skip", *(f"/ {rival}" for rival in RIVALS)], rows)
    for kind, name in (("train", "a training step"), ("infer", "inference")):
        if kind in figures["cost"]:
            cost = format_ratio(figures["cost"][kind])
            text += f"\n**Our layers / plain Keras layers, {name}: {cost}**, over the networks.\n"
    if figures["without PyTorch"]:
        text += f"\nWithout PyTorch: {figures['without PyTorch']}.\n"
    else:
        versions = {found["PyTorch"] for found in figures["networks"].values() if "PyTorch" in found}
        text += f"\nPyTorch {', '.join(sorted(versions))}, eager, channels last.\n"
    return text


RIVALS = ("plain Keras layers", "keras.applications", "PyTorch")


def format_depth(figures):
    rows = [
        [
            kind,
            row["depth"],
            f"{row['built']:.1f} s",
            f"{row['first step']:.1f} s",
            format_time(row["seconds"]),
            f"{row['MiB']:.0f}",
        ]
        for kind, curve in figures["curves"].items()
        for row in curve
    ]
    text = format_table(["network", "layers", "to build", "first step", "step", "MiB"], rows)
    for name, minutes in figures["left out"].items():
        text += f"\nLeft out: {name}, stopped after {minutes:g} minutes.\n"
    text += "\nOne step from the same weights on the same batch, at 20 layers, against the plain network's step:\n\n"
    rows = []
    for kind, found in figures["moves"].items():
        for what, value in found.items():
            rows.append([kind, what, f"{value['move']:.3f}", f"{value['difference']:.1e}"])
    return text + format_table(["network", "what it moves", "how far, plain = 1", "difference to the plain move"], rows)


def format_batch(figures):
    rows = [
        [network, kind, row["batch"], format_time(row["seconds"]), f"{row['MiB']:.0f}"]
        for network, curves in figures.items()
        for kind, curve in curves.items()
        for row in curve
    ]
    return format_table(["network", "", "batch", "step", "MiB"], rows)


def format_imports(figures):
    rows = [
        [f"`{name}`", format_time(found["seconds"]), format_ratio(found["ratio"])] for name, found in figures.items()
    ]
    return format_table(["", "time", "/ `import keras`"], rows)


def format_onednn(figures):
    rows = [[name, format_time(found["seconds"]), format_ratio(found["ratio"])] for name, found in figures.items()]
    return format_table(["", "with oneDNN", "/ without"], rows)


def format_precision(figures):
    rows = [
        [name, found["batch"], format_time(found["seconds"]), format_ratio(found["ratio"])]
        for name, found in figures.items()
    ]
    return format_table(["", "batch", "mixed_bfloat16", "/ float32"], rows)


def format_exports(figures):
    rows = [
        [network, way, format_time(found["seconds"]), f"{found['MiB']['median']:.0f}"]
        for network, of_network in figures.items()
        for way, found in of_network["ways"].items()
    ]
    text = format_table(["network", "", "time", "MiB"], rows) + "\n"
    rows = [
        [network, ours, theirs, format_ratio(value)]
        for network, of_network in figures.items()
        for ours, theirs, value in of_network["ratios"]
    ]
    return text + format_table(["network", "ours", "theirs", "ours / theirs"], rows)


def format_whole_operations(figures):
    rows = [
        [
            layer,
            form,
            found["nodes"],
            *(f"{e:.1e}" for e in found["error"].values()),
            *map(format_ratio, found["ratio"].values()),
        ]
        for layer, forms in figures.items()
        for form, found in forms.items()
    ]
    heads = ["layer", "form", "nodes", "error around 0", "around 100", "time / in parts, batch 1", "batch 8"]
    return format_table(heads, rows)


STOCHASTIC_DEPTH = """

The blocks of the first stage take longest and are dropped least, so drops save a smaller share of the time than of
the blocks. The first step takes longer: TensorFlow builds and optimises a function for each alternative of each
block, and for its gradient. Two blocks could share these only if they differed in nothing but their weights, and we
cannot know that of an activation, a normalisation or a layer that a user passes in.
"""


def format_stochastic_depth(figures):
    rows = [[name, f"{value:,.0f}" if value >= 100 else f"{value:.3f}"] for name, value in figures.items()]
    return format_table(["stochastic_resnet against resnet", ""], rows) + STOCHASTIC_DEPTH


def format_recompute(figures):
    networks = figures["networks"]
    rows = []
    for network, found in networks.items():
        for row in found["memory"]:
            depth, plain, recomputed = row.values()
            rows.append([network, depth, f"{plain:.0f}", f"{recomputed:.0f}", f"{recomputed / plain:.2f}"])
    text = format_table(["network", "depth", "MiB", "with recompute", "ratio"], rows) + "\n"
    rows = [
        [f"{network} {found['memory'][-1]['depth']}, by the {kind}", format_ratio(found[kind])]
        for network, found in networks.items()
        for kind in ("clock", "processor")
    ]
    text += format_table(["time with recompute / without", ""], rows)
    xla = figures["xla"]
    if xla:
        text += f"\nUnder XLA, a dense block of {xla['layers']} layers on JAX {xla['jax']}, device {xla['device']}:\n\n"
        rows = [[row["name"], f"{row['kept']:.1f}", f"{row['taken']:.1f}"] for row in xla["rows"]]
        text += format_table(["", "MiB kept for the gradient", "MiB that the compiled gradient takes"], rows)
        plain, recomputed = (row["taken"] for row in xla["rows"])
        if xla["device"] == "cpu" and recomputed >= plain:
            text += "\nOn a CPU the compiler merges the second run with the first, so this saves nothing there.\n"
    return text


def format_residual(figures):
    rows = [
        [width, *found["operations"].values(), format_ratio(found["clock"]), format_ratio(found["processor"])]
        for width, found in figures["cost"].items()
    ]
    heads = ["width", "operations with `Residual`", "with Keras's addition", "step, ratio", "by the processor"]
    text = format_table(heads, rows) + "\nDropping, against the same network without drops:\n\n"
    rows = [
        [
            *(network, backend, way, format_time(row["seconds"]), format_ratio(row["clock"])),
            *(format_ratio(row["processor"]), f"{row['tensors']:.2f}"),
            *(f"{row['resident']:.2f}" if "resident" in row else "", format_ratio(row["start"])),
        ]
        for network, backends in figures["drops"].items()
        for backend, ways in backends.items()
        for way, row in ways.items()
    ]
    heads = ["network", "backend", "granularity", "step", "by the clock", "by the processor", "tensors", "resident"]
    return text + format_table([*heads, "first step"], rows)


def format_streams(figures):
    rows = [
        [
            *(place, constraint),
            format_time(found["seconds"]),
            format_ratio(found["clock"]),
            format_ratio(found["processor"]),
        ]
        for place, found_by_constraint in figures.items()
        for constraint, found in found_by_constraint.items()
    ]
    return format_table(["a connection around each", "constraint", "step", "/ `Residual`", "by the processor"], rows)


PARTS = {
    part.module.rpartition(".")[2]: part
    for part in (
        Part(
            "benchmarks.layers.steps",
            12,
            "A training step and inference, compared with other implementations",
            format_steps,
        ),
        Part(
            "benchmarks.layers.depth",
            65,
            "A training step as depth grows",
            format_depth,
            pictures.draw_depth,
            "Time and memory of a training step against depth",
        ),
        Part("benchmarks.layers.batch", 3, "A training step as the batch grows", format_batch),
        Part("benchmarks.training.onednn", 4, "oneDNN on this processor", format_onednn),
        Part("benchmarks.training.precision", 3, "mixed_bfloat16 on this processor", format_precision),
        Part("benchmarks.training.pipeline", 6, "Photos from disk to batches", format_pipelines),
        Part("benchmarks.training.worker_memory", 8, "Memory while photos are decoded", format_growth),
        Part("benchmarks.training.input_share", 5, "Share of a step lost to photos", format_share),
        Part("benchmarks.imports", 2, "Importing, and starting the command line", format_imports),
        Part("benchmarks.export.exports", 2.5, "Exporting", format_exports),
        Part("benchmarks.export.published", 160, "Networks from other packages", format_published),
        Part("benchmarks.export.whole_operations", 2, "Whole operations of newer opsets", format_whole_operations),
        Part("benchmarks.layers.stochastic_depth", 4, "Savings of a dropped block", format_stochastic_depth),
        Part("benchmarks.layers.residual", 12, "Cost of `Residual`, and savings of each granularity", format_residual),
        Part("benchmarks.layers.streams", 6, "Cost of hyper-connections with four streams", format_streams),
        Part(
            "benchmarks.layers.recompute",
            6,
            "Savings of recomputation",
            format_recompute,
            pictures.draw_recompute,
            "Memory of a training step against depth",
        ),
    )
}

INTRODUCTION = """# Results of the benchmarks

`make bench` measures everything again and writes this page; `make bench PARTS="steps depth"` measures only those
parts. A ratio is our figure divided by theirs. The two take turns within a round; the table gives the median over the
rounds, and the minimum and maximum in brackets. The docstring of each benchmark explains how it measures.

"""


def format_heading(part, result):
    machine = result["machine"]
    versions = ", ".join(f"{package} {version}" for package, version in machine["versions"].items())
    chosen = "".join(f", {name}={value}" for name, value in machine["variables"].items())
    arguments = ", ".join(f"{key} {value}" for key, value in result["arguments"].items() if isinstance(value, int))
    file = part.module.replace(".", "/") + ".py"
    return (
        f"## {part.title}\n\n`{file}`; {arguments}. {machine['processor']}, {machine['cores']} cores; "
        f"{versions}{chosen}; {machine['when'][:10]}.\n\n"
    )


def render_page():
    """Returns the page that the files in benchmarks/results make up."""
    page = INTRODUCTION
    for name, part in PARTS.items():
        path = RESULTS / f"{name}.json"
        if not path.exists():
            continue
        result = json.loads(path.read_text())
        page += format_heading(part, result) + part.table(result["figures"]) + "\n"
        if part.picture:
            page += f"![{part.caption}]({name}.svg)\n\n"
    return page.rstrip() + "\n"


def write_page():
    """Writes the page, and draws its pictures again."""
    for name, part in PARTS.items():
        path = RESULTS / f"{name}.json"
        if part.picture and path.exists():
            part.picture(json.loads(path.read_text())["figures"])
    (RESULTS / "README.md").write_text(render_page())
