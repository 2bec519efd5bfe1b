"""The command line, `keras-skip`. Keras is imported by the commands that need it, so that the others answer at once."""

import os
import re
import sys

# In the order of `keras-skip --help`.
from . import networks, training, seeing, inside, exporting, weights, serving  # noqa: F401  # isort: skip
from ._app import app

OURS = ("export", "keras_skip", "zoo")


def main() -> None:
    """Runs the command line; what the user can mend is one sentence on standard error, and exit code 1."""
    try:
        app()
    except Exception as error:
        told = _told(error)
        if told is None:
            raise
        print(f"Error: {told}", file=sys.stderr)
        sys.exit(1)


def _told(error: Exception) -> str | None:
    """What to tell the user of an error, in one line; None for one that is a mistake of ours."""
    missing = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if missing and missing not in OURS:
        needed = " for KERAS_BACKEND" if missing == os.environ.get("KERAS_BACKEND") else ""
        return f"Expected {missing} to be installed{needed}. Received: {error}"
    if isinstance(error, (ValueError, OSError)) or type(error).__module__.partition(".")[0] in OURS:
        # Keras says some things in several lines, and in colours.
        return " ".join(re.sub(r"\x1b\[\d*m", "", str(error)).split()) or type(error).__name__
    return None
