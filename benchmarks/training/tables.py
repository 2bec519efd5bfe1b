"""Tables of the benchmarks of the input."""

from ..formats import format_ratio, format_table, format_time


def format_pipelines(figures):
    rows = [
        [
            name,
            f"{found['images per second']['median']:.0f}",
            f"{found['images per second of processors']['median']:.0f}",
            f"{found['MiB']:.0f}",
            *(format_ratio(found[kind]) if found[kind] else "" for kind in ("ratio", "processor ratio")),
        ]
        for name, found in figures["pipelines"].items()
    ]
    heads = ["", "images a second", "for each core", "MiB", "ours / theirs", "by the processor"]
    text = format_table(heads, rows)
    if figures["without PyTorch"]:
        text += f"\nWithout PyTorch: {figures['without PyTorch']}.\n"
    return text


def format_growth(figures):
    rows = [[f"{images:,}", *(f"{memory:.0f}" for memory in memories)] for images, *memories in figures["rows"]]
    return format_table(["images", "MiB of the parent", *["of a worker"] * (len(figures["rows"][0]) - 2)], rows)


def format_share(figures):
    rows = [[name, format_time(found) if name == "step" else format_ratio(found)] for name, found in figures.items()]
    return format_table(["", ""], rows)
