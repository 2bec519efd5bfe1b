"""Computes the reference for every exported form: the answers of the caller's model, and their precision.

Inputs are random and real. An output that they do not move proves little. Larger inputs are tried for it, and an output
that still does not move is called weak. The tolerances of `tolerances.py` hold for each channel of each output, and for
the logits of an output that ends in a softmax or sigmoid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ParityError
from ..model.endpoint import Endpoint
from ..model.inputs import check_inputs, count_examples, draw_inputs, fit_types, split_samples
from ..model.signature import Samples, flatten_samples
from ..precision.tolerances import FP32, TOLERANCES, Precision
from ..storage.arrays import Batch
from .channels import largest_value, measure_ranges
from .parity import compare
from .rounding import UNITS, Noise, measure_noise

if TYPE_CHECKING:
    import keras

BATCH_SIZES = (1, 2, 7, 32)
# The name of an output with this suffix stands for its logits, which are the input of its activation.
BEFORE = ", before its activation"
# The factors of the larger inputs and weights.
_LARGER = (10, 1000)
# A half-precision model may differ from its float32 copy by this many measured roundings, and by this many units of
# rounding of the range.
_HALF_ROUNDINGS, _HALF_SHARE, _HALF_EXAMPLES = 8, 16, 8
_TOGETHER = (2, 3)


@dataclass(frozen=True)
class Reference:
    """The answers of an endpoint.

    Attributes:
        endpoint: The function that is exported.
        inputs: Batches by name.
        answers: The answers to each batch: the outputs, and the known logits under the name of their output plus
            `BEFORE`.
        seed: The seed of the random inputs.
        atol: The caller's absolute tolerance, which replaces that of the precision for probabilities.
        rtol: The caller's tolerance as a share of ranges, which replaces that of the precision and its roundings to
            fp16.
        change: The difference between a model of half precision and its float32 copy.
        larger: The reference for larger inputs, if they move an output that these do not. It is separate, because the
            roundings of large values must not excuse differences of small ones.
    """

    endpoint: Endpoint
    inputs: dict[str, Batch]
    answers: dict[str, Batch]
    seed: int
    atol: float | None = None
    rtol: float | None = None
    change: dict[str, Any] | None = None
    larger: "Reference | None" = None
    _noise: dict[str, Noise] = field(default_factory=dict, compare=False, repr=False)

    @property
    def expected(self) -> dict[str, Batch]:
        """The outputs without the logits."""
        return {name: {key: y for key, y in batch.items() if BEFORE not in key} for name, batch in self.answers.items()}

    @property
    def logits(self) -> dict[str, Batch]:
        """The logits by the name of their output."""
        return {
            name: {key.removesuffix(BEFORE): y for key, y in batch.items() if BEFORE in key}
            for name, batch in self.answers.items()
        }

    def noise(self, dtype: str = "float32") -> Noise:
        """Returns the distance by which roundings of a type move the answers."""
        if dtype not in self._noise:
            unit, model = UNITS[dtype], self.endpoint.model
            self._noise[dtype] = measure_noise(self._answer_batch, model, self.inputs, self.answers, unit, self.seed)
        return self._noise[dtype]

    def allowed(self, precision: Precision = FP32) -> dict[str, np.ndarray]:
        """Returns the allowed difference in each channel of each answer."""
        chosen, own = TOLERANCES[precision], TOLERANCES[FP32]
        found = {}
        for name, moved in self.noise(own.dtype).floats.items():
            ranges, before = self.ranges(name), self.noise(own.dtype).floats.get(name + BEFORE)
            if before is not None:
                # A softmax moves at most half as far as its logits, a sigmoid a quarter.
                moved = np.maximum(moved, before.max() / 2)
            rtol = chosen.rtol if before is None else 0.0
            found[name] = own.roundings * moved + (rtol if self.rtol is None else self.rtol) * ranges
            found[name] = found[name] + ((self.atol or 0.0) if before is None or self.atol is not None else chosen.atol)
            if chosen.dtype != own.dtype and before is None and self.rtol is None:
                # An output that nothing moves has no range, so its values replace the range.
                reach = float(ranges.max(initial=0.0)) or largest_value(self._answers_of(name))
                roundings = chosen.roundings * self.noise(chosen.dtype).floats[name]
                found[name] = found[name] + np.minimum(roundings, chosen.most * reach)
        return found

    def ranges(self, name: str) -> np.ndarray:
        """Returns the range of each channel of an answer."""
        return measure_ranges(self._answers_of(name))

    def find_weak(self) -> dict[str, str]:
        """Finds outputs for which a comparison proves little, and says why."""
        found, own = {}, TOLERANCES[FP32]
        for name in self.endpoint.outputs:
            ranges = self.ranges(name)
            roundings = own.roundings * self.noise(own.dtype).floats.get(name, np.zeros(1))
            if not (ranges > roundings).any():
                found[name] = "It hardly changes with the input." if ranges.any() else "It is the same for every input."
        return found

    def scale_weights(self) -> "Reference | None":
        """Returns the reference with larger weights if inputs then move more outputs, and None otherwise."""
        weak = self.find_weak()
        for times in _LARGER if weak else ():
            endpoint = replace(self.endpoint, weight_scale=times)
            answers = _answer_all(endpoint, self.inputs)
            if all(np.isfinite(y).all() for given in answers.values() for y in given.values()):
                other = replace(self, endpoint=endpoint, answers=answers, larger=None, _noise={})
                if len(other.find_weak()) < len(weak):
                    return other
        return None

    def is_batchable(self) -> bool:
        """Whether examples are independent, f(a, b) = f(a), f(b), and the first axis of every output counts them."""
        parts = [draw_inputs(self.endpoint.inputs, (n,), self.seed + n, self._real_inputs()) for n in _TOGETHER]
        one, other = (batches[next(iter(batches))] for batches in parts)
        pairs = [(one, other)]
        if (real := self._real_inputs()) is not None and count_examples(real) > 1:
            half = min(count_examples(real) // 2, 8)
            pairs.append(({k: x[:half] for k, x in real.items()}, {k: x[half : 2 * half] for k, x in real.items()}))
        return all(self._are_independent(*pair) for pair in pairs)

    def compare_with_original(self, original: "keras.Model") -> dict[str, Any] | None:
        """Compares the float32 copy of a half-precision model, if there is one, with the original.

        Raises:
            ParityError: If they differ by more than that precision explains.
        """
        if self.endpoint.trained_precision is None:
            return None
        trained, few = replace(self.endpoint, model=original, widens=False), self.small_batches()
        dtype = self.endpoint.trained_precision.removeprefix("mixed_")
        given = {name: _to_float32(trained.run(batch)) for name, batch in few.items()}
        expected = {name: _to_float32({k: self.answers[name][k] for k in given[name]}) for name in few}
        floor = {
            name: _HALF_ROUNDINGS * moved + _HALF_SHARE * UNITS[dtype] * self.ranges(name)
            for name, moved in self.noise(dtype).floats.items()
        }
        unsettled = self.noise(dtype).unsettled
        record = compare(
            given, expected, few, atol=0.0, floor=floor, unsettled=unsettled, decision=None,
            names=(f"Keras in {self.endpoint.trained_precision}", "its float32 copy"),
        )  # fmt: skip
        agreements = [
            np.ravel(np.argmax(y, -1) == np.argmax(expected[name][output], -1))
            for name, outputs in given.items()
            for output, y in outputs.items()
            if output in self.endpoint.model_outputs and y.ndim > 0
        ]
        return {
            "trained_precision": self.endpoint.trained_precision,
            "max_abs_diff": record.max_abs_diff,
            "argmax_agreement": float(np.mean(np.concatenate(agreements))) if agreements else None,
        }

    def _answer_batch(self, batch: Batch) -> Batch:
        return _answer(self.endpoint, batch)

    def _answers_of(self, name: str) -> list[np.ndarray]:
        """Returns an answer to all inputs."""
        return [batch[name] for batch in self.answers.values()]

    def _real_inputs(self) -> Batch | None:
        """Returns all real inputs, if there are any."""
        real = [batch for name, batch in self.inputs.items() if name.startswith("real")]
        return {name: np.concatenate([batch[name] for batch in real]) for name in real[0]} if real else None

    def small_batches(self) -> dict[str, Batch]:
        """Returns the small batches, or the first batch if there are none."""
        small = {name: batch for name, batch in self.inputs.items() if count_examples(batch) <= _HALF_EXAMPLES}
        return small or dict([next(iter(self.inputs.items()))])

    def _are_independent(self, one: Batch, other: Batch) -> bool:
        apart = {"first": one, "second": other}
        alone = {name: self.endpoint.run(batch) for name, batch in apart.items()}
        both = {name: np.concatenate([one[name], other[name]]) for name in one}
        together, count = self.endpoint.run(both), count_examples(one)
        for batch, given in ((one, alone["first"]), (other, alone["second"]), (both, together)):
            if any(y.ndim == 0 or len(y) != count_examples(batch) for y in given.values()):
                return False
        parts = {
            "first": {name: y[:count] for name, y in together.items()},
            "second": {name: y[count:] for name, y in together.items()},
        }
        try:
            compare(alone, parts, apart, atol=0.0, floor=self.allowed(), decision=None)
        except ParityError:
            return False
        return True


def compute_reference(
    endpoint: Endpoint,
    model: "keras.Model",
    samples: Samples | None,
    *,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    seed: int = 0,
    atol: float | None = None,
    rtol: float | None = None,
) -> Reference:
    """Runs an endpoint on random and real inputs, and on larger ones if those do not move every output.

    Args:
        endpoint: The function that is exported.
        model: The caller's model; if it has half precision, the float32 copy must agree with it.
        samples: Real raw inputs, if there are any.
        batch_sizes: The sizes of the batches.
        seed: The seed of the random inputs.
        atol: As in `Reference`.
        rtol: As in `Reference`.

    Raises:
        ParityError: If the float32 copy computes something else.
        ValueError: If samples do not fit, or are missing and needed to draw inputs.
    """
    real = check_samples(endpoint, samples)
    inputs = {**draw_inputs(endpoint.inputs, batch_sizes, seed, real), **split_samples(real, batch_sizes)}
    reference = Reference(endpoint, inputs, _answer_all(endpoint, inputs), seed, atol, rtol)
    weak = reference.find_weak()
    for times in _LARGER if weak else ():
        larger = {
            f"{name}, {times} times as large": _scale_batch(batch, times)
            for name, batch in reference.small_batches().items()
        }
        answers = _answer_all(endpoint, larger)
        if all(np.isfinite(y).all() for given in answers.values() for y in given.values()):
            grown = replace(reference, inputs=larger, answers=answers, larger=None, _noise={})
            if len(left := weak.keys() & grown.find_weak().keys()) < len(weak):
                reference, weak = replace(reference, larger=grown), {name: weak[name] for name in left}
        if not weak:
            break
    return replace(reference, change=reference.compare_with_original(model))


def check_samples(endpoint: Endpoint, samples: Samples | None) -> Batch | None:
    """Checks samples, and returns them as raw inputs by name."""
    batch = flatten_samples(endpoint.signature, samples)
    if batch is not None:
        batch = fit_types(batch, endpoint.inputs)
        check_inputs(batch, endpoint.inputs)
    return batch


def _answer_all(endpoint: Endpoint, inputs: Mapping[str, Batch]) -> dict[str, Batch]:
    return {name: _answer(endpoint, batch) for name, batch in inputs.items()}


def _answer(endpoint: Endpoint, batch: Batch) -> Batch:
    outputs, logits = endpoint.run_with_logits(batch)
    return outputs | {f"{name}{BEFORE}": y for name, y in logits.items()}


def _scale_batch(batch: Batch, times: int) -> Batch:
    return {name: x * x.dtype.type(times) if x.dtype.kind == "f" else x for name, x in batch.items()}


def _to_float32(batch: Batch) -> Batch:
    """Converts floats of any precision to float32."""
    return {name: y if y.dtype.kind in "biu" else y.astype("float32") for name, y in batch.items()}
