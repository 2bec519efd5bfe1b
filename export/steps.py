"""What an export is doing: `logging.getLogger("keras_skip.export")` says each of its steps at the level INFO."""

import logging

STEPS = logging.getLogger("keras_skip.export")
