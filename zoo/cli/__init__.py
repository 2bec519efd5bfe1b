"""The command line, `keras-skip`. Keras is imported by the commands that need it, so that the others answer at once."""

import sys

from ..runs import TrainingError

# In the order of `keras-skip --help`.
from . import networks, training, seeing, inside, exporting, weights, serving  # noqa: F401  # isort: skip
from ._app import app


def main() -> None:
    """Runs the command line; what the user can mend is one sentence on standard error, and exit code 1."""
    try:
        app()
    except (ValueError, OSError, TrainingError) as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
