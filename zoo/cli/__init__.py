"""The command line, `keras-skip`. Only the commands that need Keras import it, so the others answer at once."""

import os
import re
import sys
import warnings
from typing import Any

# In the order of `keras-skip --help`.
from .commands import networks, training, runs, comparison, analysis, exporting, artifacts, predicting  # noqa: F401  # isort: skip
from .commands import weights, serving, caching  # noqa: F401  # isort: skip
from ._app import app

OURS = ("export", "keras_skip", "zoo")
# The words of the functions, and those of the shell.
_IN_THE_SHELL = {
    r"\bor overwrite=True": "or --overwrite",
    r"\bor overwrite (it\b|the run in it)": r"or replace it with --overwrite",
    r"\bimage_size=\(height, width\)": "--image-size HEIGHTxWIDTH",
    r"\bExpected image_size too": "Expected --image-size too",
    r"\bstream=True\b": "--stream",
    r"\bon_bad_(image|input)='skip'": r"--on-bad-\1 skip",
    r"\bvalidation=0\.1 to hold one out, for keep='best'": "--validation 0.1 to hold one out, for --keep best",
    r"\bvalidation=0\.1 to hold one out, for patience=": "--validation 0.1 to hold one out, for --patience ",
    r"\bone of columns=\{('.+)': 'category'\} and \{.+\}": r"--column \1=category' or --column \1=ignore'",
    r"\bExpected target, the": "Expected --target, the",
    r"\bresume=True, or begin again with overwrite=True": "--resume, or begin again with --overwrite",
    r"\bor pass cache=False to use none": "or make room with `keras-skip cache clear`",
}


def main() -> None:
    """Runs the command line. An error that the user can fix is one sentence on standard error, with exit code 1."""
    warnings.formatwarning = _format_warning
    try:
        app(prog_name="keras-skip")
    except Exception as error:
        message = _message(error)
        if message is None:
            raise
        print(f"Error: {message}", file=sys.stderr)
        sys.exit(1)


def _message(error: Exception) -> str | None:
    """The one-line message of an error; None if the error is our own mistake."""
    missing = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if missing and missing not in OURS:
        needs = f"KERAS_BACKEND={missing}" if missing == os.environ.get("KERAS_BACKEND") else "This command"
        return f"{needs} needs the package {missing}, which is not installed"
    if isinstance(error, (ValueError, OSError)) or type(error).__module__.partition(".")[0] in OURS:
        # Some messages of Keras have several lines, and colours.
        message = " ".join(re.sub(r"\x1b\[\d*m", "", str(error)).split()) or type(error).__name__
        for words, option in _IN_THE_SHELL.items():
            message = re.sub(words, option, message)
        return message
    return None


def _format_warning(message: Warning | str, *_: Any, **__: Any) -> str:
    return f"Warning: {message}\n"
