"""How finely an exported network computes, and how near to Keras each precision has to stay.

    precision   |candidate - Keras|                   the same arg-max     judged further by
    fp32        1e-5, logits 1e-4 of the largest      every input
    fp16        5e-3, logits 5e-3 of the largest      99 % of the inputs
    int8        what was measured at export           what was measured    accuracy and time

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
        rtol: Difference of logits, in proportion to the largest.
        agreement: Share of the decisions that must be equal.
    """

    atol: float
    rtol: float
    agreement: float = 1.0


TOLERANCES = {
    FP32: Tolerance(atol=1e-5, rtol=1e-4),
    FP16: Tolerance(atol=5e-3, rtol=5e-3, agreement=0.99),
    # Finite and of the right shape; accuracy and time judge the rest.
    INT8: Tolerance(atol=1.0, rtol=1.0, agreement=0.0),
}
PRECISIONS = tuple(TOLERANCES)
