"""Replaces a run: the new one is trained next to it, in RUN.new, and moved into its place once it is complete.

Until then the old run is unchanged, and an interrupted new run can be resumed in RUN.new. The new run's record says
which run it `replaces`, so that the move can be completed if a process is killed in the middle of it.
"""

import os
import shutil
from pathlib import Path

from ..devices.hosts import comes_first
from .runs import Run, is_ours, open_run, refuse_existing, update

_REPLACED = ".replaced"


def place_for(folder: Path, overwrite: bool) -> Path:
    """The folder in which a run is trained: its own, or one next to the run that it replaces.

    Args:
        folder: The folder of the run.
        overwrite: Whether a run in that folder may be replaced.

    Raises:
        FileExistsError: If something is there that may not be replaced.
    """
    refuse_existing(folder, overwrite)
    if not (folder / "run.json").exists():
        return folder
    real = folder.resolve() if folder.is_symlink() or folder.name in ("", "..") else folder
    if os.path.ismount(real):
        raise FileExistsError(
            f"Expected a folder that can be moved, to overwrite it. Received: the mount point {str(folder)!r}"
        )
    place = real.with_name(f"{real.name}.new")
    if place.exists() and not (is_ours(place) and open_run(place).record.get("replaces") == real.name):
        raise FileExistsError(
            f"Expected nothing in {str(place)!r}, where the run that replaces {str(folder)!r} is trained. "
            "Received: something else"
        )
    return place


def move_into_place(run: Run) -> Run:
    """Moves a complete run to the folder for which it was trained, and removes the run that it replaces."""
    if "replaces" not in run.record or not comes_first():
        return run
    folder = run.path.with_name(run.record["replaces"])
    if folder != run.path:
        if folder.exists():
            refuse_existing(folder, overwrite=True)
            # Whoever completes an interrupted move finds the old run inside the new one, and removes it.
            os.rename(folder, run.path / _REPLACED)
        os.rename(run.path, folder)
    shutil.rmtree(folder / _REPLACED, ignore_errors=True)
    return update(Run(folder, {name: value for name, value in run.record.items() if name != "replaces"}))
