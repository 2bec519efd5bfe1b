"""A run that is to take another's place: trained beside it, in RUN.new, and moved there once it is complete.

Until then the old run is as it was, whatever becomes of the new one; one that was stopped is resumed in RUN.new. Its
record says whom it `replaces`, so that a process killed between two steps of the move leaves nothing that cannot go on.
"""

import os
import shutil
from pathlib import Path

from .hosts import comes_first
from .runs import Run, is_ours, open_run, refuse_existing, update

_REPLACED = ".replaced"


def place_for(folder: Path, overwrite: bool) -> Path:
    """Where a run for a folder is trained: there, or beside the run that it is to replace.

    Raises:
        FileExistsError: If something is there that may not be replaced.
    """
    refuse_existing(folder, overwrite)
    if not (folder / "run.json").exists():
        return folder
    real = folder.resolve() if folder.is_symlink() or folder.name in ("", "..") else folder
    if os.path.ismount(real):
        raise FileExistsError(f"Expected a run that can be moved, to overwrite it. Received: {str(folder)!r}, a mount")
    place = real.with_name(f"{real.name}.new")
    if place.exists() and not (is_ours(place) and open_run(place).record.get("replaces") == real.name):
        raise FileExistsError(
            f"Expected nothing in {str(place)!r}, where the run that replaces {str(folder)!r} is trained. "
            "Received: something else than an earlier one"
        )
    return place


def settle(run: Run) -> Run:
    """A complete run in the folder for which it was trained; the run that it replaces is removed."""
    if "replaces" not in run.record or not comes_first():
        return run
    folder = run.path.with_name(run.record["replaces"])
    if folder != run.path:
        if folder.exists():
            refuse_existing(folder, overwrite=True)
            # Inside the new run the old one is found again, and removed, by whoever goes on.
            os.rename(folder, run.path / _REPLACED)
        os.rename(run.path, folder)
    shutil.rmtree(folder / _REPLACED, ignore_errors=True)
    return update(Run(folder, {name: value for name, value in run.record.items() if name != "replaces"}))
