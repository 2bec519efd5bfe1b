"""Formats the table of published networks, as keras-skip and Keras's exporter convert them."""

from collections import Counter

from ..formats import format_table
from .exporters import EXPORTERS

OURS, THEIRS = EXPORTERS
NAMES = {OURS: "keras-skip", THEIRS: "Keras's exporter"}
PROVEN = "proven"


def format_published(figures):
    built = {name: found for name, found in figures.items() if found["built"]}
    text = f"{format_totals(built)}\n{format_packages(built)}\n"
    rows = [
        [name, found["parameters"], *(cell for exporter in EXPORTERS for cell in format_cells(found[exporter]))]
        for name, found in built.items()
    ]
    text += (
        "Differences are the largest ones, as shares of the largest output. Seconds are those of writing the file.\n\n"
    )
    heads = [f"{NAMES[x]}{what}" for x in EXPORTERS for what in ("", ", nodes", ", s")]
    text += format_table(["network", "parameters", *heads], rows) + "\n"
    refused = {name: found[OURS] for name, found in built.items() if found[OURS]["result"] != PROVEN}
    text += "".join(f"- {name}: {found['result']}; {tidy(found['error'])}\n" for name, found in refused.items())
    broken = {name: found["error"] for name, found in figures.items() if not found["built"]}
    return text + "".join(f"- {name} cannot be built: {tidy(error)}\n" for name, error in broken.items())


def count_proven(built, exporter):
    return sum(found[exporter]["result"] == PROVEN for found in built.values())


def format_totals(built):
    """Formats the line that the README quotes."""
    ours, theirs = (count_proven(built, exporter) for exporter in EXPORTERS)
    only = [name for name, found in built.items() if found[THEIRS]["result"] == PROVEN != found[OURS]["result"]]
    return (
        f"**Of the {len(built)} networks that can be built, keras-skip converts and proves {ours} "
        f"({ours / len(built):.0%}), Keras's exporter {theirs} ({theirs / len(built):.0%}).** "
        f"Networks that only Keras's exporter converts: {', '.join(only) or 'none'}.\n"
    )


def format_packages(built):
    packages = Counter(name.split("/")[0] for name in built)
    rows = []
    for package, count in packages.items():
        own = {name: found for name, found in built.items() if name.split("/")[0] == package}
        rows.append([package, count, *(count_proven(own, exporter) for exporter in EXPORTERS)])
    return format_table(["package", "networks", *NAMES.values()], rows)


def format_cells(found):
    """Formats the largest difference, or how far an export went, with the number of nodes and the seconds."""
    proven = found["result"] == PROVEN
    weak = " (weak proof)" if found.get("weak") else ""
    result = f"{found['max_rel_diff']:.0e}{weak}" if proven else found["result"]
    return [result, found.get("nodes", ""), found.get("seconds", "")]


def tidy(error):
    """Shortens an error message to what fits a line of Markdown."""
    return error.replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")[:200]
