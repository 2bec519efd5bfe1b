"""What a call of `train` asks for: a recipe by name, a network whose recipe the data decide, or a user's own model.

Names and settings are checked before the data are read.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._names import unknown
from ..data.arrays import ARRAY_FILES
from ..data.named import SOURCES
from ..networks.catalogue import MODELS
from ..weights.loading import check_loadable
from .choice import choose_recipe, facts_of, is_network, recipe_of_photos
from .imagenet import IMAGENET
from .recipe import Recipe
from .recipes import RECIPES, get_recipe, recipes_of
from .teacher import check_teacher

if TYPE_CHECKING:
    import keras

    from ..data import Source
    from ..devices.selection import Devices

# The facts that a recipe is chosen by before the data are read, to check the other settings.
_LIKELY = {"examples": 1000, "image": (32, 32, 3)}


class Request:
    """What a call asks for.

    Args:
        recipe: The name of a recipe or a network, a `Recipe`, or None with a model.
        model: A Keras model, or its file.
        overrides: Settings of the recipe.

    Attributes:
        name: The default name of the run's folder in runs/.

    Raises:
        ValueError: If a name or a setting is wrong, or two of them do not go together.
    """

    def __init__(
        self,
        recipe: str | Recipe | None,
        model: "keras.Model | str | Path | None" = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.overrides = {name: _name_weights(v) if name == "weights" else v for name, v in (overrides or {}).items()}
        self.asked = recipe
        self.network = recipe if isinstance(recipe, str) and is_network(recipe) else ""
        if model is not None:
            name = Path(model).stem if isinstance(model, (str, os.PathLike)) else model.name
            self.network = f"{name}_own" if name in MODELS else name
        self._check()
        first = self.recipe()
        self.name = self.network or first.name
        if first.weights is not None:
            check_loadable(first.network, first.weights)
        if first.teacher is not None:
            check_teacher(first.teacher)

    def recipe(self, source: "Source | None" = None) -> Recipe:
        """Returns the recipe. Without a source, the settings that the amount of data decides may differ."""
        if self.asked is not None and not self.chooses:
            chosen = get_recipe(self.asked)
            if self.model is not None:
                chosen = replace(chosen, network=self.network, arguments={})
            return chosen.changed(self.overrides)
        facts = {"data": self.overrides["source"], **_LIKELY} if source is None else facts_of(source)
        weights = self.overrides.get("weights")
        return choose_recipe(self.network, facts, weights, self.model is not None).changed(self.overrides)

    def reading(self, data: Any, given: Mapping[str, Any]) -> dict[str, Any]:
        """The options for reading the data, with the recipe's image size if none is given."""
        named = not isinstance(data, (str, Path)) or str(data) in SOURCES
        if named or Path(data).suffix.lower() in ARRAY_FILES:
            return dict(given)
        return _with_size(self.recipe(), given)

    def load(self, data: Any, **given: Any) -> "Source":
        """Loads the data. Images of several sizes are resized to the size that the weights, the model or the network's
        recipe for photos expects.
        """
        from ..data import load_source
        from ..data.decoding import SizesDifferError

        reading = self.reading(data, given)
        try:
            return load_source(data, **reading)
        except SizesDifferError:
            size, recipe = self._image_size(), recipe_of_photos(self.network)
            if size is None and recipe is None:
                raise
            reading = _with_size(recipe, reading) if size is None and recipe else reading | {"image_size": size}
            return load_source(data, **reading)

    def _image_size(self) -> tuple[int, int] | None:
        """Height and width that the weights or the model expect; None if they are not known or may differ."""
        from ..weights.info import weights_info
        from .start import image_size_of

        if self.model is not None:
            return image_size_of(self.model)
        chosen = self.recipe()
        if chosen.weights is None:
            return None
        # Of some files nothing is known.
        with suppress(ValueError):
            reader = weights_info(chosen.network, chosen.weights).image
            return None if reader is None else reader.size
        return None

    def resolve(
        self, source: "Source", devices: "Devices"
    ) -> tuple[Recipe, "Source", "keras.Model | None", dict[str, Any]]:
        """Returns recipe, data and network to start from, and what run.json says about these.

        The data are preprocessed as the network expects. A network of None is built as the recipe says.
        """
        from ..weights.info import weights_info
        from .measured_precision import choose_precision
        from .start import read_model

        chosen, initial, record = self.recipe(source), None, {}
        devices.check(chosen.batch_size, chosen.accumulate)
        if self.chooses:
            record["chosen_by"] = facts_of(source)
        if chosen.weights is not None:
            # Nothing is known about some files.
            with suppress(ValueError):
                known = weights_info(chosen.network, chosen.weights)
                source = replace(source, preprocessing=known.preprocessing)
        if self.model is not None:
            with devices.scope():
                initial, source, record["model"] = read_model(self.model, source)
        if chosen.precision == "auto":
            chosen, record["precision"] = choose_precision(chosen, source, devices, initial)
        return chosen, source, initial, record

    @property
    def chooses(self) -> bool:
        """Whether the data decide the recipe."""
        return self.asked is None or is_network(self.asked)

    def explain(self, source: "Source") -> str:
        """Names the recipe that was chosen, and the training that it means."""
        recipe, examples = self.recipe(source), len(source.train_targets)
        length = f"epochs={recipe.epochs}, batch_size={recipe.batch_size}"
        return f"Recipe {recipe.name}, chosen for {examples:,} examples: {length}"

    def _check(self) -> None:
        if self.model is None:
            if self.asked is None:
                raise ValueError("Expected a recipe, the name of a network, or a model. Received: recipe=None")
            if self.network and "source" not in self.overrides:
                recipes = ", ".join(recipe.name for recipe in recipes_of(self.network))
                without = f"; without, it is one of its recipes: {recipes}" if recipes else ""
                raise ValueError(
                    f"Expected data for the network {self.network}, such as a folder of images{without}. "
                    "Received: data=None"
                )
            if isinstance(self.asked, str) and not self.network and self.asked not in RECIPES:
                known = (*MODELS, *RECIPES)
                raise unknown("a network or recipe", self.asked, known, "`keras-skip list` or `keras-skip recipes`")
            if not self.network and "source" not in self.overrides and get_recipe(self.asked).source == IMAGENET:
                raise ValueError(
                    f"Expected data for {get_recipe(self.asked).name}, such as a folder or .tar files of images in "
                    "train/CLASS/ and val/CLASS/, since ImageNet cannot be downloaded without an account. "
                    "Received: data=None"
                )
            return
        is_path = isinstance(self.model, (str, os.PathLike))
        given = os.fspath(self.model) if is_path else self.network
        if is_path and not (Path(given).suffix == ".keras" and Path(given).is_file()):
            raise ValueError(f"Expected a model in a .keras file, or a keras.Model. Received: model={given!r}")
        others = [name for name in ("weights", "arguments", "initialization") if self.overrides.get(name)]
        if others or is_network(self.asked):
            raise ValueError(
                "Expected a model of your own without the name of a network and without its weights and arguments. "
                f"Received: model={given!r} with {', '.join(others) or self.asked}"
            )
        if "source" not in self.overrides and self.asked is None:
            raise ValueError("Expected data to train the model on. Received: data=None")
        if self.overrides.get("precision", "float32") not in ("float32", "auto"):
            raise ValueError(
                "Expected precision='float32' for a model of your own, whose layers have their own precision. "
                f"Received: precision={self.overrides['precision']!r}"
            )


def _with_size(recipe: Recipe, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options for reading image files at a recipe's size; at another size, the shorter side changes in proportion."""
    if recipe.image_size is None:
        return dict(given)
    size = given.get("image_size") or recipe.image_size
    reading = {**given, "image_size": size}
    if recipe.shorter and reading.get("shorter") is None and reading.get("resize", "crop") == "crop":
        reading["shorter"] = max(round(recipe.shorter * min(size) / min(recipe.image_size)), *size)
    return reading


def _name_weights(weights: Any) -> Any:
    """Weights by name or path, as text."""
    return os.fspath(weights) if isinstance(weights, os.PathLike) else weights
