"""The devices that onnxruntime runs on: their execution providers, options, and required packages.

    device      computes in                         comes with
    cpu         float32                             every onnxruntime
    cuda        float32                             onnxruntime-gpu and the extra cuda
    cuda-tf32   TF32: the digits of fp16            the same
    tensorrt    TF32, which has no switch there     onnxruntime-gpu and tensorrt-cu12
    openvino    float32, on the CPU                 onnxruntime-openvino
    coreml      fp16                                onnxruntime on a Mac
    directml    float32                             onnxruntime-directml on Windows

A file in fp16 or int8 computes in its own precision where that is lower. An environment can hold only one package of
onnxruntime. Operations that a device lacks run on the CPU. At least half of those with weights must run on the device.
"""

import ctypes
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

Device = Literal["cpu", "cuda", "cuda-tf32", "tensorrt", "openvino", "coreml", "directml"]
CPU, CUDA, DIRECTML, OPENVINO = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "Dml", "OpenVINO"))
_TENSORRT, _COREML = "TensorrtExecutionProvider", "CoreMLExecutionProvider"
_NO_TF32 = {"use_tf32": "0"}  # TF32 is coarser than the tolerances of fp32.
_ONE_PACKAGE = "which takes the place of every other package of onnxruntime in an environment"


@dataclass(frozen=True)
class Provider:
    """An execution provider of onnxruntime.

    Attributes:
        name: Its name in onnxruntime.
        title: Its name in proofs.
        needs: The packages and hardware it needs, as a sentence for error messages.
        options: Its options, as onnxruntime takes them.
        precision: The precision whose tolerances apply when it runs a float32 file.
        fallbacks: Providers, with their options, for operations that it lacks; the CPU always comes last.
    """

    name: str
    title: str
    needs: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    precision: Literal["fp32", "fp16"] = "fp32"
    fallbacks: tuple[tuple[str, Mapping[str, str]], ...] = ()


_NVIDIA = "It needs onnxruntime-gpu, an NVIDIA GPU and the libraries of the extra cuda"
DEVICES: dict[Device, Provider] = {
    "cpu": Provider(CPU, "CPU"),
    "cuda": Provider(CUDA, "CUDA", f"{_NVIDIA}.", _NO_TF32),
    "cuda-tf32": Provider(CUDA, "CUDA in TF32", f"{_NVIDIA}.", {"use_tf32": "1"}, "fp16"),
    "tensorrt": Provider(
        _TENSORRT, "TensorRT", f"{_NVIDIA}, and tensorrt-cu12.", precision="fp16", fallbacks=((CUDA, _NO_TF32),)
    ),
    "openvino": Provider(
        OPENVINO,
        "OpenVINO",
        f"It needs onnxruntime-openvino, {_ONE_PACKAGE}.",
        # Where a processor has bfloat16, OpenVINO itself would use that.
        {"device_type": "CPU", "precision": "FP32"},
    ),
    "coreml": Provider(_COREML, "CoreML", "It needs onnxruntime on a Mac.", {"ModelFormat": "MLProgram"}, "fp16"),
    "directml": Provider(DIRECTML, "DirectML", f"It needs Windows and onnxruntime-directml, {_ONE_PACKAGE}."),
}


def check_device(device: str | None, optional: bool = False, among: Iterable[str] = DEVICES) -> None:
    """Raises a ValueError unless a device is known."""
    known = (*among, None) if optional else tuple(among)
    if device not in known:
        raise ValueError(f"Expected device to be one of {known}. Received: device={device!r}")


def takes_gpu(device: Device) -> bool:
    """Whether a device is a GPU that Ray can reserve."""
    return CUDA in (DEVICES[device].name, *(name for name, _ in DEVICES[device].fallbacks))


@cache
def has_nvidia_driver() -> bool:
    """Whether NVIDIA's driver is installed, without which CUDA cannot start."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True
