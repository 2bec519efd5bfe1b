"""Tables for the benchmarks of reading photos."""

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
    heads = ["pipeline", "images per second", "per core", "MiB", "our speed / theirs", "by processor time"]
    text = format_table(heads, rows)
    text += "\ntf.data is compared with keras-skip, opencv, since neither antialiases; the others with keras-skip.\n"
    if figures["without PyTorch"]:
        text += f"\nWithout PyTorch: {figures['without PyTorch']}.\n"
    return text


def format_growth(figures):
    rows = [[f"{images:,}", *(f"{memory:.0f}" for memory in memories)] for images, *memories in figures["rows"]]
    workers = [f"of worker {number}" for number in range(1, len(figures["rows"][0]) - 1)]
    return format_table(["images", "MiB of the parent", *workers], rows)


def format_share(figures):
    rows = [[name, format_time(found) if name == "step" else format_ratio(found)] for name, found in figures.items()]
    return format_table(["figure", "value"], rows)
