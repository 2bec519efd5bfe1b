"""Shows the results of an export: the proof, what a narrower precision costs, and the files."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import console

if TYPE_CHECKING:
    from export import Artifact


def show_proof(parity: dict[str, Any], targets: list[str]) -> None:
    """Shows the contents of parity.json."""
    show_parity(parity)
    _show_not_run(parity, targets)
    _show_precision(parity["precision"])


def show_files(artifact: "Artifact", targets: list[str]) -> None:
    """Shows where the files of an artifact are."""
    found = {"ONNX": artifact.onnx, "SavedModel": artifact.saved_model}
    found |= _target_files(artifact.path, targets)
    written = {name: path for name, path in found.items() if path.exists()}
    console.show_record("Exported", written | {"folder": artifact.path})


def show_parity(parity: dict[str, Any]) -> None:
    """Shows the comparisons, and the outputs whose proof is weak."""
    compared = [pair for pair in parity["comparisons"] if pair["status"] == "compared"]
    # Only quantised files are held to it.
    limited = any(pair.get("rms") for pair in compared)
    rows = [
        (
            pair["candidate"],
            pair["reference"],
            f"{pair['max_abs_diff']:.1e}",
            "-" if pair["argmax_agreement"] is None else f"{pair['argmax_agreement']:.2%}",
            pair["examples"],
            *([_describe_rms(pair)] if limited else []),
        )
        for pair in compared
    ]
    titles = ("compared", "with", "max abs diff", "arg-max agreement", "examples")
    console.show_table("Parity", (*titles, "root mean square") if limited else titles, rows)
    if weak := parity.get("weak"):
        console.show_record("Weak proof", weak)


def _describe_rms(pair: dict[str, Any]) -> str:
    """The root-mean-square difference of the output that comes nearest to its limit."""
    if not (limits := pair.get("rms")):
        return "-"
    nearest = max(limits, key=lambda name: pair["rms_diff"][name] / limits[name])
    return f"{pair['rms_diff'][nearest]:.1e} (at most {limits[nearest]:.1e})"


def _show_precision(found: dict[str, Any]) -> None:
    """Shows what a narrower precision costs and saves."""
    shown = {"precision": (name := found["name"])}
    if "bytes" in found:
        shown["size"] = " instead of ".join(f"{found['bytes'][key]:,}" for key in (name, "fp32")) + " bytes"
    if "float32_layers" in found:
        shown["layers in float32"] = f"{found['float32_layers']} of {found['layers']}"
    if "accuracy" in found:
        accuracy = found["accuracy"]
        shown["accuracy"] = f"{accuracy[name]:.2%} instead of {accuracy['fp32']:.2%}, {accuracy['examples']} examples"
    for raced in found.get("latency", ()):
        times = f"{raced[f'{name}_ms']:.3g} instead of {raced['fp32_ms']:.3g} ms"
        shown[f"batch of {raced['batch']}"] = f"{times}, {raced['speedup']:.2f} times as fast"
    for layer in found.get("worst_layers", ())[:1]:
        shown["worst layer"] = f"{layer['tensor']}, {layer['signal_to_noise_db']:.1f} dB"
    if len(shown) > 1:
        console.show_record("Precision", shown)


def _target_files(folder: Path, targets: list[str]) -> dict[str, Path]:
    """Returns the main file of each target, by its title."""
    if not targets:
        return {}
    from export.targets import TARGETS

    return {TARGETS[name].title: folder / TARGETS[name].file for name in targets}


def _show_not_run(parity: dict[str, Any], targets: list[str]) -> None:
    """Shows which targets were written but could not be run on this machine, and why."""
    titles = _target_files(Path(), targets)
    absent = {
        pair["candidate"]: pair["reason"]
        for pair in parity["comparisons"]
        if pair["status"] == "not available" and pair["candidate"] in titles
    }
    if absent:
        console.show_record("Written but not run here", absent)
