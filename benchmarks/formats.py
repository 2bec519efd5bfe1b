"""Formats figures as Markdown."""


def format_table(heads, rows):
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def format_ratio(found):
    return f"{found['median']:.3f} ({found['minimum']:.3f}–{found['maximum']:.3f})"


def format_time(found):
    seconds = found["median"]
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
