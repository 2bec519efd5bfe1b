"""The settings of a recipe's optimizer and learning rate, checked and frozen; and the checks that recipes share."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KINDS = ("sgd", "adamw", "lamb")
SCHEDULES = ("one-cycle", "cosine", "step", "constant")


def check(settings: Any, name: str, wanted: str, fits: bool) -> None:
    """Raises a ValueError that names the setting, the expected and the received value, unless it fits."""
    if not fits:
        value = getattr(settings, name)
        raise ValueError(f"Expected {name} to be {wanted}. Received: {name}={value!r}")


def check_interval(steps: int, name: str) -> None:
    """Raises a ValueError unless an argument is a number of steps."""
    if not is_whole(steps, 1):
        raise ValueError(f"Expected {name} to be a whole number of at least 1. Received: {name}={steps!r}")


def is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**32


def is_plain(value: object) -> bool:
    """Whether JSON can hold a value, in which a tuple becomes a list."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def is_real(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """What a step does to the weights w with the gradient g, at the rate lr. "sgd" has an L2 penalty that is part of
    the gradient, as in the papers:

        g = gradient + weight_decay * w
        v = momentum * v - lr * g
        w = w + v                          or, with Nesterov's form, w + momentum * v - lr * g

    "adamw" and "lamb" divide a running mean of the gradients by the root of a running mean of their squares. In step n:

        m = beta_1 * m + (1 - beta_1) * g          m' = m / (1 - beta_1**n)
        v = beta_2 * v + (1 - beta_2) * g * g      v' = v / (1 - beta_2**n)
        u = m' / (sqrt(v') + epsilon)
        w = (1 - lr * weight_decay) * w - lr * u                                 adamw
        w = w - lr * |w| / |u + weight_decay * w| * (u + weight_decay * w)       lamb, of a whole kernel

    The factor |w| / |...| is 1 where a norm is 0, and for biases and the scales and offsets of normalisations.

    Lookahead keeps slow weights and normalisation statistics s beside them. After step n of N, if n is a multiple of k:

        s = d * s + (1 - d) * w            d = 0.95**k * (n / N)**3
        w = s

    Attributes:
        kind: "sgd", "adamw" or "lamb".
        lr: The peak of the learning rate.
        momentum, nesterov: Of "sgd".
        beta_1, beta_2, epsilon: Of "adamw" and "lamb". Keras's AdamW adds epsilon to sqrt(v), before the division by
            1 - beta_2**n.
        weight_decay: On the kernels; with "sgd" its gradient is weight_decay * w.
        decay_norm_and_bias: Whether to decay the scales and offsets of the normalisation and the biases too, as torch
            does by default.
        decoupled: Whether the decay of "sgd" is a separate step, w = w - lr * weight_decay * w, and not part of the
            gradient. Then momentum, `clip_norm` and `rates` do not change it, as in "adamw". A decay of
            d / (1 - momentum) is about as strong as one of d in the gradient.
        rates: Factors on the learning rate of some variables: {"head/*": 10.0, "*/gamma": 0.0}. The names are shell
            patterns for the paths of variables, and the first one that matches counts. 0 freezes a variable.
        clip_norm: The largest norm of all gradients together. 0: no limit.
        lookahead: k, the number of steps after which training continues from the slow weights. The network is evaluated
            and saved with the slow ones. 0: none.
        ema: Decay of the moving average of weights and normalisation statistics; the network is evaluated and saved
            with these averages. In the first steps n it is (1 + n) / (10 + n). 0: no average.

    References:
        - [Loshchilov & Hutter, 2017](https://arxiv.org/abs/1711.05101): AdamW
        - [You et al., 2020](https://arxiv.org/abs/1904.00962): LAMB
        - [Zhang et al., 2019](https://arxiv.org/abs/1907.08610): lookahead
    """

    kind: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-6
    weight_decay: float = 0.0
    decay_norm_and_bias: bool = False
    decoupled: bool = False
    rates: dict[str, float] = field(default_factory=dict, hash=False)
    clip_norm: float = 0.0
    lookahead: int = 0
    ema: float = 0.0

    def __post_init__(self) -> None:
        check(self, "kind", f"one of {', '.join(KINDS)}", self.kind in KINDS)
        for name in ("lr", "epsilon"):
            value = getattr(self, name)
            check(self, name, "a positive number", is_real(value) and value > 0)
        for name in ("weight_decay", "clip_norm"):
            value = getattr(self, name)
            check(self, name, "a number of at least 0", is_real(value) and value >= 0)
        for name in ("momentum", "beta_1", "beta_2", "ema"):
            value = getattr(self, name)
            check(self, name, "a number in [0, 1)", is_real(value) and 0 <= value < 1)
        for name in ("nesterov", "decay_norm_and_bias", "decoupled"):
            check(self, name, "True or False", isinstance(getattr(self, name), bool))
        rates = isinstance(self.rates, Mapping) and all(
            isinstance(pattern, str) and is_real(factor) and factor >= 0 for pattern, factor in self.rates.items()
        )
        check(self, "rates", "a dictionary from patterns to factors of at least 0", rates)
        object.__setattr__(self, "rates", dict(self.rates))
        check(self, "lookahead", "a number of steps, or 0", is_whole(self.lookahead, 0))
        check(self, "decoupled", f"False with kind={self.kind!r}", not self.decoupled or self.kind == "sgd")
        check(self, "lookahead", f"0 with ema={self.ema}", not (self.lookahead and self.ema))


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rate over the run. With t in (0, 1) for the position and w for the warm-up, it is lr times

        t / w, or warmup_factor             t < w, for every kind
        (1 - t) / (1 - w)                   one-cycle
        (1 + cos(pi (t - w) / (1 - w))) / 2 cosine
        factor ** (milestones passed)       step
        1                                   constant

    Attributes:
        kind: "one-cycle", "cosine", "step" or "constant".
        warmup: w, a fraction of the run.
        warmup_factor: A constant factor for the warm-up. None: it rises from 0.
        milestones, factor: Of "step": the fractions of the run at which the rate is multiplied by the factor.
    """

    kind: str = "one-cycle"
    warmup: float = 0.0
    warmup_factor: float | None = None
    milestones: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1

    def __post_init__(self) -> None:
        check(self, "kind", f"one of {', '.join(SCHEDULES)}", self.kind in SCHEDULES)
        check(self, "warmup", "a number in [0, 1)", is_real(self.warmup) and 0 <= self.warmup < 1)
        for name in ("warmup_factor", "factor"):
            value = getattr(self, name)
            none = name == "warmup_factor" and value is None
            check(self, name, "a positive number", none or (is_real(value) and value > 0))
        sequence = isinstance(self.milestones, (tuple, list)) and all(is_real(m) and 0 < m < 1 for m in self.milestones)
        check(self, "milestones", "fractions in (0, 1)", sequence)
        object.__setattr__(self, "milestones", tuple(self.milestones))
