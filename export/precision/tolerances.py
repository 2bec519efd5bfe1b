"""The precisions of an exported network, and how near to Keras each must stay.

    precision   of the range   roundings         probabilities   the same arg-max     judged further by
    fp32        2e-5           16, of float32    1e-5            every input
    fp16        2.5e-3         4, of float16     5e-3            99 % of the inputs
    int8 ...    the difference measured at export                recorded only        accuracy, and time or size

An element may differ by a share of its channel's range plus a number of roundings. One rounding is the distance by
which Keras's own answers move in that channel when every weight and input is rounded once more. fp16 adds its roundings
to the 16 of float32. They allow at most 1e-2 of the output's largest range, since the network itself makes none of
them. An output that ends in a softmax or sigmoid is compared twice: before it by that rule, and after it by the column
"probabilities" plus the 16 roundings of float32.

A quantised file (int8, int8_dynamic, int4) is not close to its network in every output, so its accuracy decides whether
it is published, and its speed, or for int4 its size. The export measures its largest and its
root-mean-square difference from Keras, and records both, with some room, as the tolerances of later verifications.
"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

Precision = Literal["fp32", "fp16", "int8", "int8_dynamic", "int4"]
FP32: Final = "fp32"
FP16: Final = "fp16"
INT8: Final = "int8"
INT8_DYNAMIC: Final = "int8_dynamic"
INT4: Final = "int4"
QUANTISED: tuple[Precision, ...] = (INT8, INT8_DYNAMIC, INT4)


@dataclass(frozen=True)
class Tolerance:
    """The difference that is allowed of a pair.

    Attributes:
        atol: The allowed absolute difference of probabilities.
        rtol: The allowed difference of other outputs, as a share of the range of each channel.
        agreement: The share of the decisions that must be equal.
        roundings: The number of roundings that are allowed in addition.
        dtype: The type of the roundings.
        most: The most that the roundings allow, as a share of the output's largest range.
    """

    atol: float
    rtol: float
    agreement: float = 1.0
    roundings: int = 16
    dtype: Literal["float32", "float16"] = "float32"
    most: float = 1.0


TOLERANCES: dict[Precision, Tolerance] = {
    FP32: Tolerance(atol=1e-5, rtol=2e-5),
    FP16: Tolerance(atol=5e-3, rtol=2.5e-3, agreement=0.99, roundings=4, dtype="float16", most=1e-2),
    # Outputs must only be finite and of the right shape; accuracy and time decide.
    **dict.fromkeys(QUANTISED, Tolerance(atol=1.0, rtol=1.0, agreement=0.0)),
}
PRECISIONS = get_args(Precision)
# The name of a precision in artifact.json; that of fp32 is the type of the outputs.
EXPORTED: dict[str, str] = {FP16: "float16", INT8: "int8", INT8_DYNAMIC: "int8", INT4: "int4"}
