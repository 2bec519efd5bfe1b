"""Compares a network on a device of this machine with the answers recorded at its export.

The tolerance is that of the export. Devices that compute float32 in fp16 or TF32 get the tolerance of fp16 in addition:
5e-3 for probabilities, 2.5e-3 of each channel's range for other outputs, and 1 % of the decisions.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ..precision.tolerances import FP32, TOLERANCES
from ..runtime.providers import DEVICES, Device
from ..storage.arrays import Batch
from .parity import Parity, compare

Run = Callable[[Batch], Batch]
RECORDED, ON_CPU = "Keras, recorded at export", "onnxruntime on the CPU"


def widen_tolerance(device: Device, tolerance: Mapping[str, Any]) -> dict[str, Any]:
    """Adds what a device may differ by to a recorded tolerance. Both are keyword arguments of `compare`."""
    more = TOLERANCES[DEVICES[device].precision]
    if DEVICES[device].precision == FP32:
        return dict(tolerance)
    are_probabilities = tolerance["decision"] is not None
    rms = tolerance.get("rms")
    name, value = ("atol", more.atol) if are_probabilities else ("rtol", more.rtol)
    agreement = min(tolerance["agreement"], more.agreement)
    if rms is not None and are_probabilities:
        rms = {output: limit + more.atol for output, limit in rms.items()}
    return {**tolerance, "rms": rms, name: tolerance.get(name, 0.0) + value, "agreement": agreement}


def prove_on_device(
    run: Run,
    recorded: tuple[Mapping[str, Batch], Mapping[str, Batch], Mapping[str, Any]],
    device: Device,
    name: str,
    on_cpu: Callable[[], Run],
) -> Parity:
    """Compares a network on a device with the recorded answers, or with those of the CPU if none are recorded.

    Args:
        run: Computes on the device.
        recorded: The inputs, answers and tolerance, as `read_recorded` returns them.
        device: The device.
        name: Its name in error messages.
        on_cpu: Opens the network on the CPU.

    Raises:
        ParityError: If the answers differ.
        ExportError: If onnxruntime fails.
    """
    inputs, answers, tolerance = recorded
    names = (RECORDED if answers else ON_CPU, name)
    return compare(answers or on_cpu(), run, inputs, names=names, **widen_tolerance(device, tolerance))
