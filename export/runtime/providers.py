"""The devices that onnxruntime runs on, and its names for them."""

from typing import Literal

Device = Literal["cpu", "cuda"]
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
DEVICES: dict[Device, str] = {"cpu": CPU, "cuda": CUDA}


def check_device(device: str | None, optional: bool = False) -> None:
    """Raises a ValueError unless a device is known."""
    known = (*DEVICES, None) if optional else tuple(DEVICES)
    if device not in known:
        raise ValueError(f"Expected device to be one of {known}. Received: device={device!r}")
