"""Finds the skips of a functional model: the sums of a branch and the path around it.

    y = skip(c) + branch(c)

c is the nearest tensor from which both come. The skip is c itself or a projection, a path with fewer kernels than each
branch and at most one that mixes channels. So these sums have no skip: of two inputs, of a tensor and its position
embedding, of two paths through equally many kernels, and of a pyramid, whose "branch" is also read at another size.
"""

import re
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import and_
from typing import Any, NamedTuple

import keras

from .._base.shapes import Tensor
from ..stochastic_depth import StochasticDepth
from .graph import Call, as_functional, is_functional, list_calls

DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)


class Branch(NamedTuple):
    """A term of a sum that is not its skip."""

    place: int  # among the terms
    calls: tuple[int, ...]  # from the origin to the sum
    drop: int | None  # its last call, if that does nothing but drop the whole branch


class Skip(NamedTuple):
    """A sum with a skip; calls are counted as in the graph."""

    name: str
    call: int
    place: int  # of the skip among the terms
    origin: Tensor
    branches: tuple[Branch, ...]


class Graph:
    """The calls of a functional model, its skips by their call, and the graphs of inner models that have skips."""

    def __init__(self, model: keras.Model, prefix: str = "", known: "dict[int, Graph] | None" = None) -> None:
        self.given, self.prefix = model, prefix
        self._known: dict[int, Graph] = {} if known is None else known  # one model can be called at several levels
        self.model = as_functional(model)
        self.calls = list_calls(self.model)
        self._index: dict[int, int] = {}
        self._from: list[int] = []  # for each tensor a bit for each of those that it comes from, and for itself
        self._maker: list[int | None] = []
        self.readers: dict[int, list[int]] = {}
        for x in self.model.inputs:
            self._add(x, None, ())
        for place, call in enumerate(self.calls):
            for x in call.outputs:
                self._add(x, place, call.data)
            for x in call.inputs:
                self.readers.setdefault(id(x), []).append(place)
        self.ends = {id(x) for x in self.model.outputs}
        self.skips: dict[int, Skip] = {}
        self.drops: set[int] = set()
        self.wrapped: set[int] = set()  # the calls of StochasticDepth that are, or end, a branch
        self.inner: dict[int, Graph] = {}
        for place, call in enumerate(self.calls):
            self._look(place, call)

    def _add(self, x: Tensor, maker: int | None, data: Sequence[Tensor]) -> None:
        index = self._index[id(x)] = len(self._from)
        self._from.append(1 << index)
        self._maker.append(maker)
        for source in data:
            self._from[index] |= self._from[self._index[id(source)]]

    def _look(self, place: int, call: Call) -> None:
        operation = call.operation
        if is_functional(operation):
            if id(operation) not in self._known:
                self._known[id(operation)] = Graph(operation, f"{self.prefix}{operation.name}/", self._known)
            inside = self._known[id(operation)]
            if inside.skips or inside.inner:
                self.inner[id(operation)] = inside
        elif is_sum(call):
            skip = self._identity(place, call) or self._projection(place, call)
            if skip is not None:
                self.skips[place] = skip
                self.drops |= {branch.drop for branch in skip.branches if branch.drop is not None}
                ends = (branch.calls[-1] for branch in skip.branches if branch.drop is None)
                self.wrapped |= {end for end in ends if isinstance(self.calls[end].operation, StochasticDepth)}

    def all_skips(self, seen: set[int] | None = None) -> Iterator[tuple["Graph", Skip]]:
        """Yields the skips, those of models inside included, in the order in which they run.

        A model that is called several times counts once; `seen` are those that were met before.
        """
        seen = set() if seen is None else seen
        for place, call in enumerate(self.calls):
            inside = self.inner.get(id(call.operation))
            if inside is not None and id(inside) not in seen:
                seen.add(id(inside))
                yield from inside.all_skips(seen)
            if place in self.skips:
                yield self, self.skips[place]

    def closed_layers(self) -> Iterator[keras.layers.Layer]:
        """Yields the layers that hold other layers but have no graph to search."""
        for layer in dict.fromkeys(call.layer for call in self.calls if call.layer is not None):
            if is_functional(layer):
                yield from Graph(layer).closed_layers()
            elif len(list(layer._flatten_layers())) > 1:
                yield layer

    def name_of(self, x: Tensor) -> str:
        """The layer or function that makes a tensor, or the input that it is."""
        maker = self.made_by(x)
        return f"the input {x.name}" if maker is None else self.calls[maker].operation.name

    def made_by(self, x: Tensor) -> int | None:
        """The call that makes a tensor; None for an input."""
        return self._maker[self._index[id(x)]]

    def _comes_from(self, x: Tensor, origin: Tensor) -> bool:
        return bool(self._from[self._index[id(x)]] >> self._index[id(origin)] & 1)

    def _between(self, origin: Tensor, x: Tensor) -> tuple[int, ...]:
        """The calls on the paths from one tensor to another."""
        found = set()
        for index, maker in enumerate(self._maker):
            on_path = self._from[self._index[id(x)]] >> index & 1 and self._from[index] >> self._index[id(origin)] & 1
            if on_path and maker is not None and index != self._index[id(origin)]:
                found.add(maker)
        return tuple(sorted(found))

    def _identity(self, place: int, call: Call) -> Skip | None:
        """The skip if one term leads to all others."""
        for number, term in enumerate(call.inputs):
            origin: Tensor | None = term
            while origin is not None:
                others = [x for x in call.inputs if x is not term]
                if len(others) == len(call.inputs) - 1 and all(
                    x is not origin and self._comes_from(x, origin) for x in others
                ):
                    return self._skip(place, call, number, origin)
                origin = self._carried(origin)
        return None

    def _carried(self, x: Tensor) -> Tensor | None:
        """The skip of a sum that only the next sum reads: x in (x + f(x)) + g(x)."""
        maker = self.made_by(x)
        skip = None if maker is None or len(self.readers.get(id(x), ())) != 1 else self.skips.get(maker)
        if skip is None or skip.origin is not self.calls[skip.call].inputs[skip.place]:
            return None
        return skip.origin

    def _projection(self, place: int, call: Call) -> Skip | None:
        """The skip if all terms come from one tensor, and one of them is a projection."""
        common = reduce(and_, (self._from[self._index[id(x)]] for x in call.inputs))
        if not common:
            return None
        last = common.bit_length() - 1
        origin = next(x for x in self._tensors() if self._index[id(x)] == last)
        paths = [self._between(origin, x) for x in call.inputs]
        kernels = [sum(_kernels(self.calls[i]) for i in path) for path in paths]
        number = kernels.index(min(kernels))
        others = [path for index, path in enumerate(paths) if index != number]
        fewest = min(kernels[:number] + kernels[number + 1 :])
        path = paths[number]
        mixing = sum(_kernels(self.calls[i]) for i in path if not isinstance(self.calls[i].operation, DEPTHWISE))
        clear = mixing <= 1 and kernels[number] < fewest and not any(set(path) & set(other) for other in others)
        return self._skip(place, call, number, origin) if clear and not self.foreign(origin, path) else None

    def _tensors(self) -> Iterator[Tensor]:
        yield from self.model.inputs
        for call in self.calls:
            yield from call.outputs

    def _skip(self, place: int, call: Call, number: int, origin: Tensor) -> Skip | None:
        branches = []
        for index, term in enumerate(call.inputs):
            if index == number:
                continue
            path = self._between(origin, term)
            if all(_is_position(self.calls[i].operation) for i in path) or self._is_pyramid(place, path, term):
                return None
            drop = path[-1] if len(path) > 1 and drops_branch(self.calls[path[-1]]) else None
            branches.append(Branch(index, path, drop))
        return Skip(self.prefix + call.operation.name, place, number, origin, tuple(branches))

    def foreign(self, origin: Tensor, path: Sequence[int], readers: Sequence[int] | None = None) -> list[Tensor]:
        """The tensors from outside a path and its origin that its calls, or some of them, read."""
        known = {id(x) for place in path for x in self.calls[place].outputs} | {id(origin)}
        calls = [self.calls[place] for place in (path if readers is None else readers)]
        return [x for call in calls for x in call.data if id(x) not in known]

    def leaks(self, path: Sequence[int], total: int) -> Iterator[tuple[Tensor, int | None]]:
        """The tensors of a path that something other than its sum reads, each with the reader; None is an output."""
        for x in (x for place in path for x in self.calls[place].outputs):
            if id(x) in self.ends:
                yield x, None
            for reader in self.readers.get(id(x), ()):
                if reader not in path and reader != total:
                    yield x, reader

    def is_shared(self, place: int, path: Sequence[int]) -> bool:
        """Whether a call's layer has weights and is also called outside the path."""
        layer = self.calls[place].layer
        if layer is None or not layer.weights:
            return False
        return any(call.operation is layer and other not in path for other, call in enumerate(self.calls))

    def _is_pyramid(self, place: int, path: Sequence[int], end: Tensor) -> bool:
        return any(x is not end and not _same_size(x.shape, end.shape) for x, _ in self.leaks(path, place))


def _kernels(call: Call) -> int:
    return 0 if call.layer is None else sum(len(variable.shape) >= 2 for variable in call.layer.weights)


def is_sum(call: Call) -> bool:
    """Whether a call adds two or more tensors of one shape."""
    is_layer = isinstance(call.operation, keras.layers.Add)
    is_function = call.layer is None and type(call.operation).__name__ == "Add"
    shapes = {tuple(x.shape) for x in (*call.inputs, *call.outputs)}
    is_float = all("float" in keras.backend.standardize_dtype(x.dtype) for x in call.inputs)
    return (is_layer or is_function) and len(call.inputs) >= 2 and len(shapes) == 1 and is_float


def drops_branch(call: Call) -> bool:
    """Whether a layer only drops its whole input, for each sample or for the whole batch."""
    layer = call.layer
    if isinstance(layer, keras.layers.Dropout):
        return layer.noise_shape is not None and all(size == 1 for size in layer.noise_shape[1:])
    # Other libraries have their own classes of these names.
    return type(layer).__name__ in ("DropPath", "StochasticDepth") and not isinstance(layer, StochasticDepth)


def _is_position(operation: Any) -> bool:
    return re.search("(?<!com)position", type(operation).__name__, re.IGNORECASE) is not None


def _same_size(shape: Sequence[int | None], other: Sequence[int | None]) -> bool:
    """Whether two shapes differ in nothing but their channels."""
    if len(shape) != len(other):
        return False
    return sum(a is None or a != b for a, b in zip(shape[1:], other[1:], strict=True)) <= 1


def read_graph(model: Any) -> Graph:
    """The graph of a model, or an error for a model that has none."""
    if not is_functional(model):
        what = f"{model.name} ({type(model).__name__})" if isinstance(model, keras.Model) else repr(model)
        raise ValueError(
            "Expected a functional model, or a Sequential model that has been built; a subclassed model has no graph "
            f"to search. Received: {what}"
        )
    return Graph(model)


def read_skips(model: Any) -> Graph:
    """The graph of a model that has skips, or an error that names the layers that may hold some."""
    graph = read_graph(model)
    if next(graph.all_skips(), None) is None:
        closed: dict[str, list[str]] = {}
        for layer in graph.closed_layers():
            closed.setdefault(type(layer).__name__, []).append(layer.name)
        shown = (f"{len(names)} {kind} ({names[0]}{', ...' * (len(names) > 1)})" for kind, names in closed.items())
        inside = f", and what happens inside its layers cannot be seen: {', '.join(shown)}" if closed else ""
        raise ValueError(
            "Expected a model with sums of a skip and a branch, made by keras.layers.Add or by `x + y`. "
            f"Received: {model.name}, which has none{inside}"
        )
    return graph
