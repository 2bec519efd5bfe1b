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
        message = _message(error)
        if message is None:
            raise
        print(f"Error: {message}", file=sys.stderr)
        sys.exit(1)


def _message(error: Exception) -> str | None:
    """The one-line message of an error; None if the error is a mistake of ours."""
    missing = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if missing and missing not in OURS:
        needed = " for KERAS_BACKEND" if missing == os.environ.get("KERAS_BACKEND") else ""
        return f"Expected {missing} to be installed{needed}. Received: {error}"
    if isinstance(error, (ValueError, OSError)) or type(error).__module__.partition(".")[0] in OURS:
        # Some messages of Keras have several lines, and colours.
        return " ".join(re.sub(r"\x1b\[\d*m", "", str(error)).split()) or type(error).__name__
    return None
