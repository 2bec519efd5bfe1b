"""Builds a functional model again, with its skips changed and its weights kept.

y = skip(c) + insert(branch(c))        on the branch's output
y = skip(c) + wrap(branch)(c)          the branch as a layer
y = skip(c),  y = branch(c)            one term alone
"""

from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from itertools import chain, count
from typing import Literal, NamedTuple

import keras

from .._base.config import PACKAGE
from .._base.shapes import Tensor
from .._parts.chain import apply
from .._parts.survival import ADVICE
from .graph import Call, Copies, Values, copy_model, mask_of
from .skips import Branch, Graph, Skip


class Edit(NamedTuple):
    """What changes at each skip.

    Attributes:
        suffix: An added layer is called by the name of the sum, an underscore and this.
        insert: Takes a skip, a name and the output of its branch, and returns the term that replaces it.
        wrap: Takes a skip, a name, its branch as a layer and the branch's input, and returns the term that replaces it.
        keep: The term that remains of a sum, by the name of its skip. Default: all terms.
        redrop: Whether to leave out layers that only drop the branch.
    """

    suffix: str = ""
    insert: Callable[[Skip, str, Tensor], Tensor] | None = None
    wrap: Callable[[Skip, str, keras.layers.Layer, Tensor], Tensor] | None = None
    keep: Mapping[str, Literal["skip", "branch"]] = {}
    redrop: bool = False


def rebuild(graph: Graph, edit: Edit) -> keras.Model:
    """A new model with the weights of the graph's model and its skips edited."""
    if edit.wrap is not None:
        for inside, skip in graph.all_skips():
            for branch in skip.branches:
                check_alone(inside, skip, branch)
    builder = _Builder(edit)
    model = builder.copies.get_model(graph.given, lambda: builder.build(graph))
    builder.copies.take_weights()
    return model


@keras.saving.register_keras_serializable(PACKAGE)
class BranchModel(keras.Model):
    """A branch as a model that passes on its input's mask, which Keras does only for models with this method."""

    def compute_mask(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor | None:
        return mask


class _Builder:
    def __init__(self, edit: Edit) -> None:
        self.edit, self.copies = edit, Copies()
        self._added: set[tuple[int, str]] = set()  # names, each with the graph that it is in

    def build(self, graph: Graph) -> keras.Model:
        return copy_model(graph.model, lambda values: self._run(graph, range(len(graph.calls)), values))

    def _run(self, graph: Graph, places: Iterable[int], values: Values) -> None:
        places = list(places)
        skips = [graph.skips[place] for place in places if place in graph.skips]
        later = {place for skip in skips for place in self._run_at_the_sum(graph, skip)}
        for place in places:
            if place in later:
                continue
            run = self._merge if place in graph.skips else self._call
            y = keras.tree.flatten(run(graph, place, values))
            values.update(zip(map(id, graph.calls[place].outputs), y, strict=True))

    def _run_at_the_sum(self, graph: Graph, skip: Skip) -> Iterable[int]:
        for branch in skip.branches:
            if self.edit.wrap is not None:
                yield from branch.calls
            elif branch.drop is not None and not list(graph.leaks([branch.drop], skip.call)):
                yield branch.drop

    def _call(self, graph: Graph, place: int, values: Values) -> Tensor:
        call = graph.calls[place]
        args, kwargs = call.arguments.fill_in(values)
        if id(call.operation) in graph.inner:
            inside = graph.inner[id(call.operation)]
            return self.copies.get_model(call.operation, lambda: self.build(inside))(*args, **kwargs)
        if self.edit.redrop and place in graph.wrapped:
            return self._without_drop(graph, call, args[0])
        return self.copies.get(call.operation)(*args, **kwargs)

    def _without_drop(self, graph: Graph, call: Call, x: Tensor) -> Tensor:
        """What a `StochasticDepth` computes at inference."""
        ours = call.operation
        y = apply(self.copies.get(ours.layer), x)
        if not _is_scaled(call):
            return y
        name = self._name(graph, f"{ours.name}_scale")
        return keras.layers.Rescaling(ours.survival_prob, name=name, dtype=ours.dtype_policy)(y)

    def _merge(self, graph: Graph, place: int, values: Values) -> Tensor:
        call, skip = graph.calls[place], graph.skips[place]
        kept = self.edit.keep.get(skip.name)
        if kept == "skip":
            return _rename(values[id(call.inputs[skip.place])], self._name(graph, *[call.operation.name] * 2))
        new: Values = {}
        for number, branch in enumerate(skip.branches, 1):
            name = call.operation.name if number == 1 else f"{call.operation.name}_{number}"
            new[id(call.inputs[branch.place])] = self._update(graph, skip, branch, values, name)
        if kept == "branch":
            terms = [new[id(call.inputs[branch.place])] for branch in skip.branches]
            name = self._name(graph, *[call.operation.name] * 2)
            return _rename(terms[0], name) if len(terms) == 1 else keras.layers.Add(name=name)(terms)
        return self._call(graph, place, ChainMap(new, values))

    def _update(self, graph: Graph, skip: Skip, branch: Branch, values: Values, sum_name: str) -> Tensor:
        """The new term of the sum for a branch."""
        end = branch_end(graph, skip, branch)
        name = self._name(graph, f"{sum_name}_{self.edit.suffix}")
        if self.edit.wrap is not None:
            layer = self._layer(graph, skip, branch, f"{sum_name}_branch")
            return self.edit.wrap(skip, name, layer, values[id(skip.origin)])
        x = values[id(end)] if self.edit.insert is None else self.edit.insert(skip, name, values[id(end)])
        if branch.drop is None or self.edit.redrop:
            return x
        return self._call(graph, branch.drop, ChainMap({id(end): x}, values))

    def _name(self, graph: Graph, wanted: str, replaced: str = "") -> str:
        """A name that none of the remaining and added layers has; one layer can make several sums."""
        gone = graph.drops | graph.wrapped if self.edit.redrop else set()
        taken = {call.operation.name for place, call in enumerate(graph.calls) if place not in gone} - {replaced}
        names = chain([wanted], (f"{wanted}_{number}" for number in count(2)))
        name = next(name for name in names if name not in taken and (id(graph), name) not in self._added)
        self._added.add((id(graph), name))
        return name

    def _layer(self, graph: Graph, skip: Skip, branch: Branch, name: str) -> keras.layers.Layer:
        """A branch as a layer of its one input."""
        places = [place for place in branch.calls if place != branch.drop]
        end = branch_end(graph, skip, branch)
        only = graph.calls[places[0]]
        is_wrapped = places[0] in graph.wrapped
        is_layer = _takes_nothing_else(only, skip.origin) and id(only.operation) not in graph.inner
        if len(places) == 1 and is_layer and not (is_wrapped and _is_scaled(only)):
            return self.copies.get(only.operation.layer if is_wrapped else only.operation)
        x = keras.Input(batch_shape=skip.origin.shape, dtype=skip.origin.dtype)
        values: Values = {id(skip.origin): x}
        self._run(graph, places, values)
        return BranchModel(x, values[id(end)], name=name)


def branch_end(graph: Graph, skip: Skip, branch: Branch) -> Tensor:
    """The output of a branch before the layer that drops it."""
    term = graph.calls[skip.call].inputs[branch.place]
    return term if branch.drop is None else graph.calls[branch.drop].inputs[0]


def _is_scaled(call: Call) -> bool:
    """Whether a `StochasticDepth` multiplies its output by its probability at inference."""
    return call.operation.scale == "inference" and call.operation.survival_prob < 1.0


def _takes_nothing_else(call: Call, x: Tensor) -> bool:
    named = set(call.arguments.kwargs) - {"training", "mask"}
    return call.layer is not None and not named and [id(value) for value in call.arguments.args] == [id(x)]


def _rename(x: Tensor, name: str) -> Tensor:
    """A tensor under the name of the sum that it replaces, so that outputs and later code find it."""
    return keras.layers.Identity(name=name, dtype=x.dtype)(x)


def check_alone(graph: Graph, skip: Skip, branch: Branch) -> None:
    """Raises a ValueError unless a branch can be left out: it reads only its origin, and only its sum reads it."""
    for place in branch.calls:
        call = graph.calls[place]
        outside = [*graph.foreign(skip.origin, branch.calls, [place]), *_foreign_masks(graph, skip, branch, call)]
        for x in outside:
            raise ValueError(
                f"Expected branches with one input. Received: the branch of {skip.name}, in which "
                f"{call.operation.name} also reads {graph.name_of(x)}; {ADVICE}"
            )
        if graph.is_shared(place, branch.calls):
            raise ValueError(
                f"Expected branches with layers of their own. Received: the branch of {skip.name}, in which "
                f"{call.operation.name} is also called elsewhere; {ADVICE}"
            )
    mask, brought = mask_of(branch_end(graph, skip, branch)), mask_of(skip.origin)
    # With the mask of an identity skip, the sum does not need that of the branch.
    is_identity = graph.calls[skip.call].inputs[skip.place] is skip.origin
    if mask is not brought and not (mask is None and is_identity):
        raise ValueError(
            f"Expected branches that pass on their input's mask. Received: the branch of {skip.name}, which changes "
            f"it; {ADVICE}"
        )
    for x, reader in graph.leaks(branch.calls, skip.call):
        who = "the output" if reader is None else graph.calls[reader].operation.name
        raise ValueError(
            f"Expected branches that only their sum reads. Received: the branch of {skip.name}, in which {who} "
            f"also reads {graph.name_of(x)}; {ADVICE}"
        )


def _foreign_masks(graph: Graph, skip: Skip, branch: Branch, call: Call) -> list[Tensor]:
    """The masks from outside a branch, except the one that its input brings along."""
    made = {id(x) for place in branch.calls for x in graph.calls[place].outputs}
    carried = mask_of(skip.origin)
    brought = carried is not None and any(mask_of(x) is carried for x in call.inputs)
    return [x for x in call.masks if id(x) not in made and not (brought and x is carried)]
