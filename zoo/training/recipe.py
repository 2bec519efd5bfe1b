"""Recipes: how a network is trained, as checked and frozen data."""

import ast
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any

from .._names import unknown
from ..data.augmentation import Augmentation
from ..tasks.task import BINARY, CROSS_ENTROPY
from .settings import Optimizer, Schedule, check, is_plain, is_real, is_whole

LOSSES = (CROSS_ENTROPY, BINARY)
INITIALIZATIONS = ("dirac", "whitening")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16", "auto")
FREEZES = ("none", "norms", "backbone")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe to train a network.

    Attributes:
        name: Its name in `get_recipe`.
        network: A name of `zoo.list_models()`.
        arguments: Arguments of the network that differ from the registry's, such as {"depth": 32}.
        source: The data source. "imagenet" stands for images that users have to provide.
        image_size, shorter: How image files are read by default, as in `load_source`: (height, width) in pixels, or the
            side of a square; and the shorter side before the centre crop of that size. None: as they are.
        epochs, batch_size: Length of the run.
        accumulate: Gradient accumulation: the number of parts in which a batch is computed, one after the other, before
            the optimizer takes its step. With batch_size=2048 and accumulate=8, only the activations of 256 images are
            in memory. A last batch with fewer examples has smaller parts. Batch normalisation uses the statistics of
            each part.
        weights: What the network starts from: the name of weights, a file, or the folder of a run, as `zoo.load` takes
            them. With another number of classes the head is new. Default: new weights.
        freeze: What keeps its values: "norms" (the scales, offsets and moving statistics of all normalisations),
            "backbone" (everything but the head) or "none".
        unfreeze_after: The number of epochs after which a frozen backbone trains too. 0: never.
        initialization: What replaces the network's own initial weights. "dirac": the first filters of each convolution,
            one for each of its channels, pass these on unchanged. "whitening": the first convolution whitens the
            patches of the training images, and is frozen. Default: nothing.
        optimizer: `Optimizer`.
        schedule: `Schedule`.
        augment: `Augmentation`.
        loss: For classification: "cross-entropy" of the softmax, or "binary", the mean over all classes of the binary
            cross-entropy of their sigmoids. Either way the network is exported with a softmax, and the history and the
            results give the cross-entropy of that softmax, so that all runs can be compared.
        loss_threshold: With "binary": a label above it becomes 1, and all others become 0; with 0.0 both classes of
            mixup and CutMix count as present. None: mixed labels stay as they are.
        label_smoothing: s in [0, 1): a label y of k classes becomes (1 - s) * y + s / k.
        class_weight: "balanced": the loss of an example of class c counts n / (k n_c) times, for n training examples of
            k classes, n_c of them of c. None: all count alike.
        teacher: A trained network whose probabilities are mixed into the labels (knowledge distillation): a network and
            its weights, such as "resnet20/cifar10", a `.keras` file, or the folder of a run. Default: none.
        teacher_weight: w in (0, 1]: a label y becomes (1 - w) * y + w * softmax(teacher(x)).
        keep: Which weights the run ends with: those of the "last" epoch, or of the "best" one on the validation part.
        patience: How many epochs without a better one on the validation part end the training. 0: it never ends early.
        evaluate_every: The number of epochs between evaluations; the last epoch is always evaluated.
        precision: "float32", "mixed_bfloat16", "mixed_float16", or "auto": the fastest that holds, which `train`
            measures before the first step and records in place of "auto".
        seed: Of the initial weights, the order, the augmentation and the dropout.
        jit: Whether XLA compiles the steps. None: where that is the faster choice.
        command: The command line that trains it.
        paper: What a paper reports for this network and these data, which the recipe should reach.
        cost: Measured, with the machine; computed for a recipe that has not been run to the end here.
        result: Measured; empty until it is.
    """

    name: str
    network: str
    arguments: dict[str, Any] = field(default_factory=dict)
    source: str = "digits"
    image_size: tuple[int, int] | None = None
    shorter: int | None = None
    epochs: int = 30
    batch_size: int = 128
    accumulate: int = 1
    weights: str | None = None
    freeze: str = "none"
    unfreeze_after: int = 0
    initialization: tuple[str, ...] = ()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    augment: Augmentation = Augmentation()
    loss: str = CROSS_ENTROPY
    loss_threshold: float | None = None
    label_smoothing: float = 0.0
    class_weight: str | None = None
    teacher: str | None = None
    teacher_weight: float = 0.5
    keep: str = "last"
    patience: int = 0
    evaluate_every: int = 1
    precision: str = "float32"
    seed: int = 0
    jit: bool | None = None
    command: str = ""
    paper: str = ""
    cost: str = ""
    result: str = ""

    def __post_init__(self) -> None:
        for name in ("name", "network", "source", "command", "paper", "cost", "result"):
            check(self, name, "text", isinstance(getattr(self, name), str))
        for name in ("epochs", "batch_size", "accumulate", "evaluate_every"):
            check(self, name, "a positive integer below 2**32", is_whole(getattr(self, name), 1))
        names = self.initialization
        known = isinstance(names, (tuple, list)) and all(name in INITIALIZATIONS for name in names)
        check(self, "initialization", f"a tuple of names from {', '.join(INITIALIZATIONS)}", known)
        object.__setattr__(self, "initialization", tuple(names))
        self._check_start()
        self._check_teacher()
        self._check_reading()
        check(self, "class_weight", "'balanced' or None", self.class_weight in (None, "balanced"))
        check(self, "keep", "'last' or 'best'", self.keep in ("last", "best"))
        check(self, "patience", "a number of epochs, or 0", is_whole(self.patience, 0))
        check(self, "seed", "an integer of at least 0 and below 2**32", is_whole(self.seed, 0))
        smoothing = self.label_smoothing
        check(self, "label_smoothing", "a number in [0, 1)", is_real(smoothing) and 0 <= smoothing < 1)
        check(self, "loss", f"one of {', '.join(LOSSES)}", self.loss in LOSSES)
        above = self.loss_threshold
        check(
            self, "loss_threshold", "a number in [0, 1), or None", above is None or (is_real(above) and 0 <= above < 1)
        )
        check(self, "loss_threshold", f"None with loss={self.loss!r}", above is None or self.loss == BINARY)
        check(self, "precision", f"one of {', '.join(PRECISIONS)}", self.precision in PRECISIONS)
        check(self, "jit", "True, False or None", self.jit is None or isinstance(self.jit, bool))
        named = isinstance(self.arguments, dict) and all(isinstance(name, str) for name in self.arguments)
        check(
            self, "arguments", "a dictionary by name, of values that JSON can hold", named and is_plain(self.arguments)
        )
        for name, kind in PARTS.items():
            check(self, name, f"of the class {kind.__name__}", isinstance(getattr(self, name), kind))

    def _check_reading(self) -> None:
        size: Any = self.image_size
        if size is not None:
            size = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
            check(self, "image_size", "(height, width) in pixels", len(size) == 2 and all(is_whole(s, 1) for s in size))
            object.__setattr__(self, "image_size", size)
        wanted = f"a whole number of at least {max(size)}" if size else "None without image_size"
        fits = self.shorter is None or (size is not None and is_whole(self.shorter, max(size)))
        check(self, "shorter", wanted, fits)

    def _check_start(self) -> None:
        named = self.weights is None or (isinstance(self.weights, str) and self.weights != "")
        check(self, "weights", "the name of weights, a path, or None", named)
        check(
            self, "initialization", f"empty with weights={self.weights!r}", not (self.weights and self.initialization)
        )
        check(self, "freeze", f"one of {', '.join(FREEZES)}", self.freeze in FREEZES)
        check(self, "unfreeze_after", "a number of epochs, or 0", is_whole(self.unfreeze_after, 0))
        frozen = self.freeze == "backbone" or not self.unfreeze_after
        check(self, "unfreeze_after", f"0 with freeze={self.freeze!r}, which stays frozen", frozen)

    def _check_teacher(self) -> None:
        named = self.teacher is None or (isinstance(self.teacher, str) and self.teacher != "")
        check(self, "teacher", "NETWORK/WEIGHTS, a path, or None", named)
        check(self, "teacher", f"None with loss={self.loss!r}", self.teacher is None or self.loss == CROSS_ENTROPY)
        weight = self.teacher_weight
        check(self, "teacher_weight", "a number in (0, 1]", is_real(weight) and 0 < weight <= 1)
        default = type(self).teacher_weight
        check(
            self,
            "teacher_weight",
            f"left at {default} unless teacher is set",
            self.teacher is not None or weight == default,
        )

    def changed(self, overrides: Mapping[str, Any] | None = None, **others: Any) -> "Recipe":
        """Copies the recipe with other values. A wrong name is a ValueError that lists the right ones.

        Args:
            overrides: Settings by dotted name, such as {"optimizer.lr": 0.2, "arguments.depth": 32}.
            **others: More settings.

        Example:

        >>> import zoo
        >>> zoo.get_recipe("resnet20_digits").changed({"optimizer.lr": 0.2}, epochs=3).optimizer.lr
        0.2
        """
        recipe = self
        for name, value in {**(overrides or {}), **others}.items():
            part, dot, inner = name.partition(".")
            if part == "arguments" and inner:
                value = {**recipe.arguments, inner: value}
            elif name not in SETTINGS:
                raise unknown("a recipe's setting", name, [*SETTINGS, "arguments.NAME"])
            elif dot:
                value = replace(getattr(recipe, part), **{inner: value})
            recipe = replace(recipe, **{part: value})
        return recipe

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain data that survive JSON unchanged."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, figures: Mapping[str, Any]) -> "Recipe":
        parts = {name: kind(**figures[name]) for name, kind in PARTS.items()}
        return cls(**{**figures, **parts})


PARTS: dict[str, type[Optimizer | Schedule | Augmentation]] = {
    "optimizer": Optimizer,
    "schedule": Schedule,
    "augment": Augmentation,
}
# Every name that an override may have, those of the network's arguments excepted.
SETTINGS = [item.name for item in fields(Recipe)]
SETTINGS += [f"{part}.{item.name}" for part, kind in PARTS.items() for item in fields(kind)]


def to_plain(value: Any) -> Any:
    """Turns the value of an override into plain data."""
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def parse_setting(text: str) -> tuple[str, Any]:
    """Parses "name=value". The value is a Python literal, or else text.

    Example:

    >>> from zoo.training.recipe import parse_setting
    >>> parse_setting("optimizer.lr=0.05"), parse_setting("schedule.kind=cosine")
    (('optimizer.lr', 0.05), ('schedule.kind', 'cosine'))
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"Expected a setting as name=value. Received: {text!r}")
    try:
        return name.strip(), ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # the last three for odd text
        return name.strip(), value.strip()
