"""Surgery: changes the skips of a functional model that others built, and keeps its weights.

    y = skip(c) + branch(c)  ->  y = skip(c) + drop(branch(c)),  y = skip(c) + gamma branch(c),  ...

Every function returns a new model with copies of the layers. The given model does not change.
"""

import difflib
from itertools import count
from typing import Any, Literal

import keras
from keras import ops

from .._base.arguments import number, one_of, optional_int
from .._base.config import PACKAGE
from .._base.shapes import Tensor
from .._parts.survival import GRANULARITIES
from ..attention import SqueezeExcite
from ..drop_path import DropPath
from ..layer_scale import LayerScale
from ..stochastic_depth import StochasticDepth, linear_survival
from .rebuild import Edit, rebuild
from .skips import Skip, read_graph, read_skips


def list_skips(model: keras.Model) -> list[str]:
    """Lists the sums of a model that have a skip, by the name of the layer or function that adds.

        y = skip(c) + branch(c)

    c is the nearest tensor from which all terms come. The skip is c itself or a projection: a path with fewer kernels
    than each branch, and at most one that mixes channels. Other sums have no skip: those of two inputs, of a tensor and
    its position embedding, of two paths through equally many kernels, and the top-down sums of a feature pyramid.

    Args:
        model: A functional or Sequential model. Functional models inside it are searched too, and their sums are called
            "model/sum". One that is called at several places is listed once, under the first.

    Returns:
        The names of the sums, from the input to the output; an empty list if there are none.

    Raises:
        ValueError: If the model is subclassed, since it then has no graph to search.

    Example:

    >>> import keras
    >>> from keras_skip import list_skips
    >>> x = keras.Input((8,))
    >>> model = keras.Model(x, keras.layers.Add(name="sum")([x, keras.layers.Dense(8)(x)]))
    >>> list_skips(model)
    ['sum']

    Reference:
        He et al., Deep Residual Learning for Image Recognition, 2015, https://arxiv.org/abs/1512.03385
    """
    return [skip.name for _, skip in read_graph(model).all_skips()]


def add_stochastic_depth(
    model: keras.Model, survival_prob: float, granularity: str = "sample", *, seed: int | None = None
) -> keras.Model:
    """Drops the branches of a model in training, the later ones more often.

        y = skip(c) + drop(branch(c)),   p_l = 1 - l / L (1 - p_L)   for the skip l of L

    Inference gives the same outputs, bit for bit. Layers that already drop a whole branch, as in EfficientNet and
    ConvNeXt, are replaced, so that no branch is dropped twice; any other dropout stays. A `StochasticDepth` with
    scale="inference" leaves a layer behind that multiplies by its p.

    Args:
        model: As in `list_skips`. It does not change.
        survival_prob: p_L in (0, 1], the survival probability of the last branch.
        granularity: "sample" puts a `DropPath` after each branch, and all other layers stay in `model.layers`. "batch"
            and "rows" move each branch into a `StochasticDepth`, which does not compute what it drops. Default
            "sample".
        seed: Integer seed of the draws, which differ from branch to branch. Default None.

    Returns:
        A functional model, not compiled, with the name of the given one and copies of its layers and weights.

    Raises:
        ValueError: For arguments out of range; if the model is subclassed or has no sum with a skip; with a granularity
            other than "sample", if a branch has more than one input, shares layers with the rest of the model, or is
            read by more than its sum.

    Example:

    >>> import keras
    >>> from keras_skip import add_stochastic_depth
    >>> x = keras.Input((8,))
    >>> model = keras.Model(x, keras.layers.Add(name="sum")([x, keras.layers.Dense(8)(x)]))
    >>> dropped = add_stochastic_depth(model, 0.8, granularity="sample")
    >>> round(dropped.get_layer("sum_drop").rate, 3)
    0.2

    Reference:
        Huang et al., Deep Networks with Stochastic Depth, 2016, https://arxiv.org/abs/1603.09382
    """
    number(survival_prob, "survival_prob", 0.0, 1.0, "(]")
    one_of(granularity, "granularity", GRANULARITIES)
    seed = optional_int(seed, "seed")
    graph = read_skips(model)
    names = list(dict.fromkeys(skip.name for _, skip in graph.all_skips()))
    probabilities = dict(zip(names, linear_survival(survival_prob, len(names)), strict=True))

    places = {name: place for place, name in enumerate(names)}
    further = count(len(names))  # for other branches of a sum, and other calls of its layer

    def options(skip: Skip, name: str, x: Tensor) -> dict[str, Any]:
        place = places.pop(skip.name) if skip.name in places else next(further)
        return {"seed": None if seed is None else seed + place, "name": name, "dtype": _policy(x)}

    def insert(skip: Skip, name: str, x: Tensor) -> Tensor:
        return DropPath(1.0 - probabilities[skip.name], **options(skip, name, x))(x)

    def wrap(skip: Skip, name: str, layer: keras.layers.Layer, x: Tensor) -> Tensor:
        return StochasticDepth(layer, probabilities[skip.name], granularity, **options(skip, name, x))(x)

    if granularity == "sample":
        return rebuild(graph, Edit("drop", insert=insert, redrop=True))
    return rebuild(graph, Edit("drop", wrap=wrap, redrop=True))


def add_layer_scale(model: keras.Model, init: float = 1.0, axis: int | None = -1) -> keras.Model:
    """Puts a `LayerScale` after each branch of a model: learned factors of its update.

        y = skip(c) + gamma branch(c),   gamma = init at the start

    With init=1 the outputs stay the same, bit for bit, until gamma is trained.

    Args:
        model: As in `list_skips`. It does not change.
        init, axis: As in `LayerScale`; axis=None makes one factor for each branch. Defaults 1 and -1.

    Returns:
        A functional model, as from `add_stochastic_depth`.

    Raises:
        ValueError: For arguments out of range; if the model is subclassed or has no sum with a skip.

    Example:

    >>> import keras
    >>> from keras_skip import add_layer_scale
    >>> x = keras.Input((8,))
    >>> model = keras.Model(x, keras.layers.Add(name="sum")([x, keras.layers.Dense(8)(x)]))
    >>> add_layer_scale(model).count_params() - model.count_params()
    8

    Reference:
        Touvron et al., Going Deeper with Image Transformers, 2021, https://arxiv.org/abs/2103.17239
    """

    def insert(skip: Skip, name: str, x: Tensor) -> Tensor:
        return LayerScale(init, axis, name=name, dtype=_policy(x))(x)

    return rebuild(read_skips(model), Edit("scale", insert=insert))


@keras.saving.register_keras_serializable(PACKAGE)
def twice_sigmoid(x: Tensor) -> Tensor:
    """A gate between 0 and 2, with the value 1 at 0."""
    return 2 * ops.sigmoid(x)


def add_squeeze_excite(model: keras.Model, ratio: int = 16, *, data_format: str | None = None) -> keras.Model:
    """Puts a `SqueezeExcite` after each branch of a model: a gate for each channel of its update.

        y = skip(c) + s branch(c),   s = 2 sigmoid(W2 relu(W1 m + b1) + b2),   W2 = b2 = 0 at the start

    m are the means of the update's channels. The paper's gate, a sigmoid, would start near 1/2 and disturb a trained
    network. This one lies between 0 and 2 and starts at 1, so the outputs stay the same, bit for bit, until it is
    trained.

    Args:
        model: As in `list_skips`. It does not change.
        ratio: W1 maps C channels to max(1, C // ratio). Default 16.
        data_format: "channels_last" or "channels_first". Default: `keras.config.image_data_format()`.

    Returns:
        A functional model, as from `add_stochastic_depth`.

    Raises:
        ValueError: For arguments out of range; if the model is subclassed or has no sum with a skip.

    Example:

    >>> import keras
    >>> from keras_skip import add_squeeze_excite
    >>> x = keras.Input((4, 4, 8))
    >>> model = keras.Model(x, keras.layers.Add(name="sum")([x, keras.layers.Conv2D(8, 1)(x)]))
    >>> add_squeeze_excite(model, ratio=4).get_layer("sum_attention").reduce.units
    2

    Reference:
        Hu et al., Squeeze-and-Excitation Networks, 2018, https://arxiv.org/abs/1709.01507
    """

    def insert(skip: Skip, name: str, x: Tensor) -> Tensor:
        own: dict[str, Any] = {"name": name, "dtype": _policy(x)}
        layer = SqueezeExcite(ratio, gate_activation=twice_sigmoid, data_format=data_format, **own)
        y = layer(x)
        layer.expand.kernel.assign(ops.zeros(layer.expand.kernel.shape))
        return y

    return rebuild(read_skips(model), Edit("attention", insert=insert))


def without_skip(model: keras.Model, name: str) -> keras.Model:
    """Removes the skip of one sum of a model, which then gives the branch alone.

        y = branch(c)

    Args:
        model: As in `list_skips`. It does not change.
        name: Name of the sum, one of `list_skips(model)`.

    Returns:
        A functional model, as from `add_stochastic_depth`. The sum's name passes to an identity layer, or to
        the sum of the branches if there are several.

    Raises:
        ValueError: If the model is subclassed, or has no such sum with a skip.

    Example:

    >>> import keras
    >>> from keras_skip import without_skip
    >>> x = keras.Input((8,))
    >>> model = keras.Model(x, keras.layers.Add(name="sum")([x, keras.layers.Dense(8, kernel_initializer="zeros")(x)]))
    >>> y = keras.ops.convert_to_numpy(without_skip(model, "sum")(keras.ops.ones((1, 8))))
    >>> float(y[0, 0])
    0.0

    Reference:
        Veit et al., Residual Networks Behave Like Ensembles of Relatively Shallow Networks, 2016,
        https://arxiv.org/abs/1605.06431
    """
    return _without(model, name, "branch")


def without_branch(model: keras.Model, name: str) -> keras.Model:
    """Removes the branch, or branches, of one sum of a model, which then gives the skip alone.

        y = skip(c)

    Args:
        model: As in `list_skips`. It does not change.
        name: Name of the sum, one of `list_skips(model)`.

    Returns:
        A functional model, as from `add_stochastic_depth`. The sum's name passes to an identity layer.

    Raises:
        ValueError: If the model is subclassed, or has no such sum with a skip.

    Example:

    >>> import keras
    >>> from keras_skip import without_branch
    >>> x = keras.Input((8,))
    >>> model = keras.Model(x, keras.layers.Add(name="sum")([x, keras.layers.Dense(8, kernel_initializer="ones")(x)]))
    >>> y = keras.ops.convert_to_numpy(without_branch(model, "sum")(keras.ops.ones((1, 8))))
    >>> float(y[0, 0])
    1.0

    Reference:
        Veit et al., Residual Networks Behave Like Ensembles of Relatively Shallow Networks, 2016,
        https://arxiv.org/abs/1605.06431
    """
    return _without(model, name, "skip")


def _without(model: keras.Model, name: str, kept: Literal["skip", "branch"]) -> keras.Model:
    graph = read_skips(model)
    names = [skip.name for _, skip in graph.all_skips()]
    if name not in names:
        near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.3) or names[:3]
        raise ValueError(f"Expected name to be a sum with a skip, such as {near}. Received: name={name!r}")
    return rebuild(graph, Edit(keep={name: kept}))


def _policy(x: Tensor) -> str:
    """The dtype policy of an added layer: it computes in its input's type, and keeps weights in at least float32."""
    dtype = keras.backend.standardize_dtype(x.dtype)
    return f"mixed_{dtype}" if dtype in ("float16", "bfloat16") else dtype
