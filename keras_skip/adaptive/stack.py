"""The same blocks with each kind of skip around them, to compare the kinds.

    y = stack(blocks, skip="residual")(x)

Each kind is a function in `KINDS`, which makes the layers of a stack and returns the function that runs them. Its
arguments after the first are the options of the kind.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, TypeAlias

import keras

from .._base.arguments import one_of
from .._base.config import PACKAGE, argument_names
from .._base.shapes import Tensor
from .._base.wrapped import check_taken, is_taken, layer_or_layers
from .._parts.wrapping import WrappingLayer
from ..gates import Gate
from ..wrapper import Residual
from .depth import DepthAttention, DepthAverage
from .hyper_connection import HyperConnection
from .streams import ExpandStreams, ReduceStreams

Blocks: TypeAlias = Sequence[keras.layers.Layer | Sequence[keras.layers.Layer]]
CallConnection: TypeAlias = Callable[[WrappingLayer, Tensor], Tensor]
Run: TypeAlias = Callable[[Tensor, CallConnection], Tensor]


@keras.saving.register_keras_serializable(PACKAGE)
class UpdateGate(Gate):
    """A gate that only the update passes: y = u. With it, a `Residual` has no skip."""

    def call(self, x: Tensor, update: Tensor) -> Tensor:
        return update


class Stack:
    """Blocks with skips, called like a function. Each call uses the same layers.

    Attributes:
        layers: All its layers, in the order in which they were made.
    """

    def __init__(self, blocks: Blocks, skip: str | None, name: str, options: dict[str, Any]) -> None:
        self.name = name
        self.layers: list[keras.layers.Layer] = []
        own = list(inspect.signature(KINDS[skip]).parameters)[1:]
        unknown = [option for option in options if option not in (*CONNECTION_OPTIONS, *own)]
        if unknown:
            raise ValueError(
                f"Expected options that skip={skip!r} takes: {', '.join([*own, *CONNECTION_OPTIONS])}. "
                f"Received: {', '.join(f'{option}={options[option]!r}' for option in unknown)}"
            )
        self._blocks = [layer_or_layers(block, f"blocks[{i}]") for i, block in enumerate(blocks)]
        self.depth = len(self._blocks)
        self._options = {option: value for option, value in options.items() if option not in own}
        self._connections: list[WrappingLayer] = []
        self._run: Run = KINDS[skip](self, **{option: options[option] for option in own if option in options})

    def connect(self, cls: type[WrappingLayer], **own: Any) -> list[WrappingLayer]:
        """Makes a connection around each block. An option that is a list has an entry for each block."""
        options = {"depth": self.depth, **self._options, **own}
        for option, value in options.items():
            if isinstance(value, list) and len(value) != self.depth:
                raise ValueError(
                    f"Expected {option} to be one value or a list with one for each of the {self.depth} blocks. "
                    f"Received: {option}={value}"
                )
        for i, block in enumerate(self._blocks):
            each = {option: value[i] if isinstance(value, list) else value for option, value in options.items()}
            self._connections.append(cls(block, name=f"{self.name}_{i + 1}", **each))
        self.layers += self._connections
        return self._connections

    def add(self, cls: type[keras.layers.Layer], suffix: str, **own: Any) -> Any:
        """Makes a layer beside the connections, with the stack's dtype and data format."""
        shared = {option: self._options[option] for option in ("dtype", "data_format") if option in self._options}
        taken = {option: value for option, value in shared.items() if option in ("dtype", *argument_names(cls))}
        self.layers.append(cls(name=f"{self.name}_{suffix}", **taken, **own))
        return self.layers[-1]

    def __call__(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        training: bool | None = None,
        mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        use_causal_mask: bool = False,
    ) -> Tensor:
        check_taken([layer for c in self._connections for layer in c.layers], context, attention_mask, use_causal_mask)
        of_layers = {"context": context, "attention_mask": attention_mask, "use_causal_mask": use_causal_mask or None}
        of_all = {"training": training, "mask": mask}

        def call(connection: WrappingLayer, x: Tensor) -> Tensor:
            given = of_all | {name: value for name, value in of_layers.items() if is_taken(connection.layers, name)}
            y = connection(x, **{name: value for name, value in given.items() if value is not None})
            if not _same_shape(x.shape, y.shape):
                raise ValueError(
                    "Expected blocks that keep the shape of their input. "
                    f"Received: blocks[{self._connections.index(connection)}], which makes {tuple(y.shape)} "
                    f"of {tuple(x.shape)}"
                )
            return y

        return self._run(x, call)


def _same_shape(shape: Sequence[int | None], other: Sequence[int | None]) -> bool:
    """Whether two shapes are the same, as far as they are known."""
    return len(shape) == len(other) and all(None in (a, b) or a == b for a, b in zip(shape, other, strict=True))


def _in_turn(connections: list[WrappingLayer]) -> Run:
    return lambda x, call: reduce(lambda y, connection: call(connection, y), connections, x)


def _none(stack: Stack) -> Run:
    return _in_turn(stack.connect(Residual, gate=UpdateGate()))


def _residual(stack: Stack) -> Run:
    return _in_turn(stack.connect(Residual))


def _highway(stack: Stack) -> Run:
    return _in_turn(stack.connect(Residual, gate="highway"))


def _hyper(
    stack: Stack, streams: int = 4, constraint: str | None = "birkhoff", dynamic: bool = True, iterations: int = 20
) -> Run:
    expand = stack.add(ExpandStreams, "expand", streams=streams)
    own = {"streams": streams, "constraint": constraint, "dynamic": dynamic, "iterations": iterations}
    run = _in_turn(stack.connect(HyperConnection, index=list(range(stack.depth)), **own))
    reduce_streams = stack.add(ReduceStreams, "reduce")
    return lambda x, call: reduce_streams(run(expand(x), call))


def _depth_average(stack: Stack, dilation: int = 1, period: int = 1) -> Run:
    connections = stack.connect(Residual)
    averages = [
        stack.add(DepthAverage, f"{i}_average", dilation=dilation, period=period) for i, _ in enumerate(connections, 1)
    ]

    def run(x: Tensor, call: CallConnection) -> Tensor:
        states, y = [x], x
        for connection, average in zip(connections, averages, strict=True):
            states.append(call(connection, y))
            y = average(states)
        return y

    return run


def _depth_attention(stack: Stack, block_size: int = 1, reduction: str = "sum") -> Run:
    connections = stack.connect(Residual, gate=UpdateGate())
    places = [*(f"{i}_attention" for i, _ in enumerate(connections, 1)), "attention"]
    *attentions, last = [
        stack.add(DepthAttention, place, block_size=block_size, reduction=reduction) for place in places
    ]

    def run(x: Tensor, call: CallConnection) -> Tensor:
        values = [x]
        for connection, attention in zip(connections, attentions, strict=True):
            values.append(call(connection, attention(values)))
        return last(values)

    return run


KINDS: dict[str | None, Callable[..., Run]] = {
    None: _none,
    "residual": _residual,
    "highway": _highway,
    "hyper": _hyper,
    "depth_average": _depth_average,
    "depth_attention": _depth_attention,
}
CONNECTION_OPTIONS = [name for name in argument_names(WrappingLayer) if name not in ("layer", "seed")] + ["dtype"]


def stack(
    blocks: Blocks,
    skip: str | None = "residual",
    *,
    norm: str | None = "pre",
    name: str | None = None,
    **options: Any,
) -> Stack:
    """Puts a skip of the given kind around each block, so that you can compare the kinds on the same blocks.

        None               x_l = F_l(N(x_(l-1)))                           no skip
        "residual"         x_l = x_(l-1) + F_l(N(x_(l-1)))                 `Residual`
        "highway"          x_l = C x_(l-1) + T F_l(N(x_(l-1)))             `Residual` with a `HighwayGate`
        "hyper"            a `HyperConnection` around each block, between `ExpandStreams` and `ReduceStreams`
        "depth_average"    a `DepthAverage` after each residual connection
        "depth_attention"  v_l = F_l(N(h_l)), with h_l = `DepthAttention` of [x_0, v_1, ..., v_(l-1)]; one more
                           `DepthAttention`, of all values, gives the output

    x_0 is the input of the stack, x_l the output of block l, F_l the block, and N the norm for `norm="pre"`.

    Args:
        blocks: A list of layers that keep the shape of their input. An entry can be a list of layers that run one after
            the other, as in `Residual`. Each entry gets its own connection, with its own norm.
        skip: The kind of skip. Default "residual".
        norm: As in `Residual`; "hyper" takes only None, "pre" and "peri". Default "pre".
        name: The connections are called `{name}_1`, `{name}_2`, ..., and the layers beside them `{name}_1_average`,
            `{name}_1_attention`, `{name}_expand` and so on. Default: "stack", and "stack2", ... for further stacks.
        **options: Options of the kind: streams, constraint, dynamic and iterations of `HyperConnection`, dilation and
            period of `DepthAverage`, block_size and reduction of `DepthAttention`. All kinds also take `dtype` and the
            keyword options of `Residual` except activation, gate, shortcut and seed. A list gives each block its own
            value, as in `survival_prob=linear_survival(0.8, 12)` for 12 blocks.
            depth is the number of blocks by default.

    Returns:
        A function of x, which is a symbolic tensor of a functional model, or an eager one. It also takes the arguments
        `context`, `training`, `mask`, `attention_mask` and `use_causal_mask` of `Residual`, and hands each to the
        connections that can use it. Every call uses the same layers, which the function lists in its attribute
        `layers`. A subclassed model must keep that list in an attribute of its own, so that Keras finds the weights.
        Two stacks of the same blocks share the blocks; Keras cannot load the file of one model with both.

    Raises:
        ValueError: For an unknown kind, an option that the kind does not take, a list of another length than `blocks`,
            or no blocks; in the call, for a block that changes the shape, or an argument that no block takes.

    Example:

    >>> import keras
    >>> from keras_skip import stack
    >>> def blocks():
    ...     return [keras.layers.Dense(8, activation="relu") for _ in range(4)]
    >>> for skip in (None, "residual", "highway", "hyper", "depth_average", "depth_attention"):
    ...     x = keras.Input((8,))
    ...     print(skip, keras.Model(x, stack(blocks(), skip)(x)).count_params())
    None 352
    residual 352
    highway 928
    hyper 4588
    depth_average 366
    depth_attention 384

    References:
        He et al., Identity Mappings in Deep Residual Networks, 2016, https://arxiv.org/abs/1603.05027
        Srivastava et al., Training Very Deep Networks, 2015, https://arxiv.org/abs/1507.06228
        Zhu et al., Hyper-Connections, 2024, https://arxiv.org/abs/2409.19606
        Pagliardini et al., DenseFormer, 2024, https://arxiv.org/abs/2402.02622
        Kimi Team, Attention Residuals, 2026, https://arxiv.org/abs/2603.15031
    """
    if not isinstance(blocks, (list, tuple)) or not blocks:
        raise ValueError(f"Expected blocks to be a list of layers, or of lists of layers. Received: blocks={blocks!r}")
    one_of(skip, "skip", list(KINDS))
    if name is None:
        number = keras.backend.get_uid("stack")
        name = "stack" if number == 1 else f"stack{number}"
    return Stack(blocks, skip, name, {"norm": norm, **options})
