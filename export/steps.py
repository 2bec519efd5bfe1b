"""What an export is doing: `logging.getLogger("export")` says each of its steps at the level INFO."""

import logging

STEPS = logging.getLogger("export")
