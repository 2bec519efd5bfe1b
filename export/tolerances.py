"""How finely an exported network computes, and how near to Keras each precision has to stay.

    precision   of the range   roundings         probabilities   the same arg-max   judged further by
    fp32        2e-5           16, of float32    1e-5            every input
    fp16        2.5e-3         4, of float16     5e-3            99 % of the inputs
    int8        what was measured at export                      what was measured  accuracy and time

An element may differ by a share of its channel's range, and by as many roundings as stand there: one rounding is how
far Keras's own answers move in that channel when every weight and input is rounded once more. In fp16 roundings give at
most 1e-2 of the largest range, since they are not the network's own. What ends in a softmax or sigmoid is compared
before it by that rule, and after it by the column "probabilities" (and the roundings of float32) alone.

An int8 file is not near its network in every output: it is published for what it costs in accuracy and saves in time.
How far it was from Keras at export is recorded, with some room, as the tolerance of every later verification.
"""

from dataclasses import dataclass

FP32, FP16, INT8 = "fp32", "fp16", "int8"


@dataclass(frozen=True)
class Tolerance:
    """What a pair may differ by.

    Attributes:
        atol: Absolute difference of probabilities.
        rtol: Difference of anything else, in proportion to the range of its channel.
        agreement: Share of the decisions that must be equal.
        roundings: How many roundings the difference may be besides.
        dtype: Of what type these are.
        most: The largest share of an output's largest range that they may be.
    """

    atol: float
    rtol: float
    agreement: float = 1.0
    roundings: int = 16
    dtype: str = "float32"
    most: float = 1.0


TOLERANCES = {
    FP32: Tolerance(atol=1e-5, rtol=2e-5),
    FP16: Tolerance(atol=5e-3, rtol=2.5e-3, agreement=0.99, roundings=4, dtype="float16", most=1e-2),
    # Finite and of the right shape; accuracy and time judge the rest.
    INT8: Tolerance(atol=1.0, rtol=1.0, agreement=0.0),
}
PRECISIONS = tuple(TOLERANCES)
