"""Arguments and options of the command `export`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from . import _completion
from ._options import check_value, choice, from_to, number, out

FORMATS = ("saved_model", "onnx")
TARGETS = ("web", "openvino", "litert", "ort")

Model = Annotated[
    Path,
    typer.Argument(
        metavar="RUN_OR_MODEL",
        autocompletion=_completion.networks_and_runs,
        help="The folder of a run, or a .keras file; with --weights, a network.",
    ),
]
Folder = Annotated[
    Path | None,
    out(
        "The folder of the artifact. Default: RUN/export, RUN/export-tta, FILE-export for FILE.keras, or "
        "NETWORK-WEIGHTS-export."
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        "-w",
        metavar="WEIGHTS",
        help="The weights of a network: a name such as imagenet, or a file of torchvision, timm or keras.applications.",
    ),
]
Formats = Annotated[
    str | None,
    typer.Option(
        "--format",
        "-f",
        metavar="FORMATS",
        callback=check_value(
            lambda text: {name.strip() for name in text.split(",")} <= set(FORMATS),
            "saved_model, onnx, or saved_model,onnx",
        ),
        help="saved_model, onnx, or both, separated by a comma. Default: both, "
        "or onnx if the precision is not fp32 or the engine is not tf2onnx.",
    ),
]
Targets = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="TARGETS",
        callback=check_value(
            lambda text: {name.strip() for name in text.split(",")} <= set(TARGETS),
            f"some of {', '.join(TARGETS)}, separated by commas",
        ),
        help="Other runtimes to convert to: web, openvino, litert, ort, or several, separated by commas.",
    ),
]
Opset = Annotated[int, number(check=from_to(13, 24), help="The ONNX opset, 13 to 24.")]
ForRuntime = Annotated[
    str | None,
    typer.Option(
        metavar="VERSION",
        help="The oldest onnxruntime that must run the file, 1.13 to 1.26; picks the newest opset that it runs.",
    ),
]
Engine = Annotated[
    Literal["tf2onnx", "jax2onnx", "torch"] | None,
    choice(
        "tf2onnx",
        "jax2onnx",
        "torch",
        help="The converter. jax2onnx (with KERAS_BACKEND=jax) and torch (with KERAS_BACKEND=torch) need no "
        "TensorFlow. Default: tf2onnx if TensorFlow is installed.",
    ),
]
Precision = Annotated[
    Literal["fp32", "fp16", "int8", "int8_dynamic", "int4"],
    choice(
        "fp32",
        "fp16",
        "int8",
        "int8_dynamic",
        "int4",
        option=("--precision", "-p"),
        help="fp16 is for GPUs. The others need a run, and are written only if faster here (int4: smaller).",
    ),
]
MaxAccuracyDrop = Annotated[
    float,
    typer.Option(metavar="POINTS", help="How many percentage points of test accuracy quantisation may cost."),
]
Layout = Annotated[
    Literal["nhwc", "nchw"] | None, choice("nhwc", "nchw", help="The order of an image's axes. Default: the model's.")
]
Samples = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Real inputs for a .keras file: an array in .npy, or one for each input in .npz."
    ),
]
Record = Annotated[
    Literal["all", "synthetic", "none"],
    choice(
        "all", "synthetic", "none", help="The inputs to ship with Keras's answers; synthetic leaves out the real ones."
    ),
]
Gates = Annotated[bool, typer.Option("--gates", help='Add an output "carry": the mean carry gate of each block.')]
