"""Adds targets to an artifact, and proves that each gives Keras's answers.

In artifact.json, "targets" then gives the runtime of each target, and whether it takes batches or one example at a
time. parity.json has the comparisons, or the reason why a target cannot run on this machine.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ExportError, ParityError, VerificationError, error_line
from ..model.backends import name_reference
from ..model.inputs import split_batch
from ..proof.prove import compare_with_keras, join_proofs
from ..proof.reference import Reference
from ..steps import STEPS
from ..storage.arrays import Batch
from ..storage.manifest import PARITY, is_batchable, write_json, write_manifest
from . import TARGETS
from .target import Target, Unavailable

# A manifest's "batch" of a target that takes one example at a time; None stands for any number.
ONE = 1


def check_targets(names: Sequence[str], formats: Sequence[str], precision: str = "fp32") -> tuple[str, ...]:
    """Checks that targets can be made here, and returns their names without duplicates.

    Raises:
        ValueError: If one is unknown, or needs a format that is not exported.
        ExportError: If a package that makes it is not installed.
    """
    names = (names,) if isinstance(names, str) else tuple(dict.fromkeys(names))
    if not set(names) <= set(TARGETS):
        raise ValueError(f"Expected targets to be some of {tuple(TARGETS)}. Received: targets={names!r}")
    for name in names:
        needed = TARGETS[name].source
        if needed not in formats:
            raise ValueError(
                f"Expected the format {needed}, from which the target {name} is made. Received: formats={formats!r}"
            )
        if precision != "fp32":
            raise ValueError(f"Expected precision='fp32' for targets. Received: precision={precision!r}")
    for name in names:
        TARGETS[name].require()
    return names


def add_targets(
    folder: Path, manifest: Mapping[str, Any], parity: Mapping[str, Any], names: Sequence[str], reference: Reference
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Adds targets to an artifact that is not published yet.

    Args:
        folder: The artifact.
        manifest: The contents of artifact.json.
        parity: The contents of parity.json.
        names: The targets.
        reference: Keras's answers.

    Returns:
        The new contents of both files.

    Raises:
        ExportError: If a target cannot convert or run the network.
        ParityError: If the answers of a target differ from Keras's.
    """
    targets: dict[str, Any] = {}
    parity = dict(parity)
    for name in names:
        target, path = TARGETS[name], folder / TARGETS[name].file
        STEPS.info("converting for %s, and comparing with Keras", target.title)
        path.parent.mkdir(exist_ok=True)
        target.build(folder, path)
        targets[name] = {"runtime": target.require(), "batch": None}
        try:
            targets[name]["batch"], proof, weak = _prove_target(target, path, reference, is_batchable(manifest))
        except Unavailable as missing:
            absent = {"status": "not available", "reference": name_reference(), "candidate": target.title}
            parity["comparisons"] = [*parity["comparisons"], absent | {"reason": str(missing)}]
            continue
        parity = join_proofs(parity, proof)
        parity["weak"] = parity["weak"] | {f"{output}, {target.title}": why for output, why in weak.items()}
    write_json(folder / PARITY, parity)
    content = {key: value for key, value in manifest.items() if key not in ("format", "files", "sha256")}
    return write_manifest(folder, content | {"targets": targets}), parity


def _prove_target(
    target: Target, path: Path, reference: Reference, batchable: bool
) -> tuple[int | None, dict[str, Any], dict[str, str]]:
    """Compares a target with Keras: on whole batches and, if it fails on those, one example at a time."""
    try:
        return None, *compare_with_keras(reference, target.title, partial(run_target, target, path, batch=None))
    except Unavailable:
        raise
    except (ExportError, ParityError) as error:
        if not batchable:
            raise
        failure = error
    try:
        return ONE, *compare_with_keras(reference, target.title, partial(run_target, target, path, batch=ONE))
    except (ExportError, ParityError):
        raise failure from None


def run_target(target: Target, path: Path, batches: Mapping[str, Batch], batch: int | None) -> dict[str, Batch]:
    """Runs a target on batches, as they are or one example at a time.

    Raises:
        Unavailable: If it cannot run on this machine.
        ExportError: If it fails.
    """
    run = partial(target.run, path)
    return run(batches) if batch is None else run_in_parts(run, batches)


def run_in_parts(
    run: Callable[[Mapping[str, Batch]], Mapping[str, Batch]], batches: Mapping[str, Batch]
) -> dict[str, Batch]:
    """Runs every example on its own, and joins the answers of each batch."""
    parts = {name: dict(enumerate(split_batch(batch, ONE))) for name, batch in batches.items()}
    answers = run({f"{i} {name}": part for name, split in parts.items() for i, part in split.items()})
    return {name: _join([answers[f"{i} {name}"] for i in split]) for name, split in parts.items()}


def _join(parts: Sequence[Batch]) -> Batch:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def run_targets(
    folder: Path, manifest: Mapping[str, Any], batches: Mapping[str, Batch]
) -> tuple[dict[str, dict[str, Batch]], dict[str, str]]:
    """Runs every target of an artifact. Check its files against the manifest first.

    Returns:
        The outputs by title and batch, and why some targets cannot run here.

    Raises:
        VerificationError: If a target has no file, or cannot run it.
    """
    outputs: dict[str, dict[str, Batch]] = {}
    absent: dict[str, str] = {}
    for name, about in (manifest.get("targets") or {}).items():
        if (target := TARGETS.get(name)) is None:
            absent[name] = f"This version of keras-skip does not know the target {name}."
            continue
        if target.file not in manifest["files"]:
            raise VerificationError(f"Expected {folder / target.file}, since the artifact has the target {name}.")
        try:
            outputs[target.title] = run_target(target, folder / target.file, batches, about["batch"])
        except Unavailable as missing:
            absent[target.title] = str(missing)
        except VerificationError:
            raise
        except ExportError as error:
            raise VerificationError(
                f"Expected a file that {target.title} runs. Received: {error_line(error)}"
            ) from error
    return outputs, absent
