"""Reads and writes `artifact.json`, which describes an artifact and holds the hash of every file and of itself."""

import glob
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import VerificationError
from .publishing import holds_only
from .safety import check_folder, check_regular, read_json
from .schema import find_faults

FORMAT = 1
# An error message names at most this many faults.
_SHOWN = 5
MANIFEST, PARITY, SAMPLES, ONNX, SAVED_MODEL = (
    "artifact.json",
    "parity.json",
    "samples.npz",
    "model.onnx",
    "saved_model",
)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON that people can read."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def write_manifest(folder: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Writes the manifest of a folder with the format, the hash of every file, and the hash of its own contents.

    Returns:
        The manifest.
    """
    files = {name: hash_file(folder / name) for name in list_files(folder) if name != MANIFEST}
    manifest = {"format": FORMAT, **content, "files": files}
    manifest["sha256"] = _hash_content(manifest)
    _check_fields(manifest, folder / MANIFEST)
    write_json(folder / MANIFEST, manifest)
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads the manifest of an artifact.

    Raises:
        FileNotFoundError: If there is none.
        VerificationError: If it was changed since the export, or has another format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        hint = ""
        if (folder / "run.json").is_file():
            exported = (folder / "export" / MANIFEST).is_file()
            hint = (
                f", a run; its export is {folder / 'export'}" if exported else f", a run; `keras-skip export {folder}`"
            )
        raise FileNotFoundError(f"Expected an artifact, a folder with {MANIFEST}. Received: {folder}{hint}")
    try:
        return _validate(read_json(path), path)
    except VerificationError:
        raise
    except (ValueError, RecursionError) as error:
        raise VerificationError(f"Expected {path} to be an artifact's manifest. Received: {error}") from error


def _validate(manifest: Any, path: Path) -> dict[str, Any]:
    if isinstance(manifest, dict) and manifest.get("format") != FORMAT:
        raise VerificationError(
            f"Expected {path} to be of format {FORMAT}. Received: format {manifest.get('format')!r}"
        )
    _check_fields(manifest, path)
    if _hash_content(manifest) != manifest["sha256"]:
        raise VerificationError(f"Expected {path} as it was exported. Received: changed contents")
    return dict(manifest)


def _check_fields(manifest: Any, path: Path) -> None:
    if found := list(find_faults(manifest)):
        raise VerificationError(f"Expected {path} to be an artifact's manifest. Received: {'; '.join(found[:_SHOWN])}")


def is_artifact(folder: Path) -> bool:
    """Whether a folder holds an artifact and nothing else; files of the artifact may be changed or missing."""
    try:
        files = read_json(folder / MANIFEST)["files"]
        return holds_only(folder, MANIFEST, *map(glob.escape, files))
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return False


def gates_output(manifest: Mapping[str, Any]) -> str | None:
    """Returns the name of the output with the gates of each highway block, if there is one."""
    gates = manifest.get("gates")
    return gates["output"] if gates else None


def is_batchable(manifest: Mapping[str, Any]) -> bool:
    """Whether the export has proven that no answer depends on the other examples of its batch.

    Otherwise requests do not run together and batches are not split, as for artifacts older than that proof.
    """
    return manifest.get("batchable") is True


def why_not_batchable(manifest: Mapping[str, Any]) -> str | None:
    """Returns a sentence that says why batches are neither merged nor split; None if they may be."""
    if is_batchable(manifest):
        return None
    name = manifest["name"]
    if manifest.get("batchable") is False:
        return f"{name} is not batched: an answer depends on the other examples of its batch."
    return (
        f"{name} is not batched: its export did not prove that examples are independent. Export it again to prove it."
    )


def check_files(folder: Path, manifest: dict[str, Any]) -> int:
    """Compares every file with its hash.

    Returns:
        The number of files, the manifest included.

    Raises:
        VerificationError: If files are missing, changed, unexpected or links; the message names each.
    """
    check_folder(folder)
    listed, present = manifest["files"], set(list_files(folder)) - {MANIFEST}
    problems = {
        "missing": sorted(set(listed) - present),
        "changed": sorted(name for name in set(listed) & present if hash_file(folder / name) != listed[name]),
        "unexpected": sorted(present - set(listed)),
    }
    if any(problems.values()):
        found = "; ".join(f"{kind} {', '.join(names)}" for kind, names in problems.items() if names)
        raise VerificationError(f"Expected the files of {folder} as they were exported. Received: {found}")
    return len(listed) + 1


def check_file(folder: Path, manifest: Mapping[str, Any], name: str) -> None:
    """Raises a VerificationError unless one file is there, is no link, and has its hash."""
    path = folder / name
    if not path.is_file():
        raise VerificationError(f"Expected {path} as it was exported. Received: no such file")
    check_regular(path)
    if hash_file(path) != manifest["files"].get(name):
        raise VerificationError(f"Expected {path} as it was exported. Received: a changed file")


def list_files(folder: Path) -> list[str]:
    """Names every file below a folder, sorted, with forward slashes."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def hash_file(path: Path) -> str:
    """Returns the SHA-256 hash of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_content(manifest: dict[str, Any]) -> str:
    content = {k: v for k, v in manifest.items() if k != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
