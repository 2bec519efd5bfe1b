"""Tables in HTML."""

import html
from collections.abc import Iterable, Mapping
from typing import Any

NONE = "<p>None.</p>"


def record(values: Mapping[str, Any]) -> str:
    """Writes a row for each setting under its dotted name, and omits empty ones."""
    rows = (
        f"<tr><th scope='row'>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in _flat(values).items()
    )
    return f"<div class='scroll'><table>{''.join(rows)}</table></div>"


def grid(rows: list[dict[str, Any]]) -> str:
    """Writes a row for each dictionary, under the keys of the longest one: epochs without an evaluation have fewer."""
    if not rows:
        return NONE
    names = max(rows, key=len)
    heading = "".join(f"<th scope='col'>{html.escape(name)}</th>" for name in names)
    cells = ("".join(f"<td>{_cell(row.get(name, ''))}</td>" for name in names) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in cells)
    return f"<div class='scroll'><table><thead><tr>{heading}</tr></thead><tbody>{body}</tbody></table></div>"


def tiles(figures: Iterable[tuple[str, str]]) -> str:
    """Writes names and figures as tiles, and omits empty figures."""
    shown = (f"<div><dt>{name}</dt><dd>{html.escape(figure)}</dd></div>" for name, figure in figures if figure)
    return f"<dl class='tiles'>{''.join(shown)}</dl>"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens nested settings to dotted names, as the command line takes them."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif value not in ("", None):
            flat[prefix + name] = value
    return flat


def _cell(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else html.escape(str(value))
