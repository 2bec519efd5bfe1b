"""A network that somebody published, as data: what builds it, and with what. Nothing is imported before it is built."""

from dataclasses import dataclass, field
from importlib import import_module, util
from typing import Any

# What every network of tokens has; inputs are drawn below it.
VOCABULARY = 64


@dataclass(frozen=True)
class Network:
    """One network.

    Attributes:
        package: Its publisher's name on the package index.
        path: What builds it, as "module:name".
        arguments: What it is called with; networks among them are built first.
        also: Tells it from others that the same function builds.
        features: For a layer that is published alone: the shape of an example, of which a model is made.
    """

    package: str
    path: str
    arguments: dict[str, Any] = field(default_factory=dict)
    also: str = ""
    features: tuple[int | None, ...] | None = None

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return f"{self.package}/{self.path.split(':')[1]}{self.also and ' ' + self.also}"

    @property
    def installed(self) -> bool:
        """Whether its publisher is."""
        parts = [x for x in self.arguments.values() if isinstance(x, Network)]
        return util.find_spec(self.path.split(":")[0].split(".")[0]) is not None and all(x.installed for x in parts)

    def build(self) -> Any:
        """Makes it, or a part of it."""
        module, name = self.path.split(":")
        arguments = {key: x.build() if isinstance(x, Network) else x for key, x in self.arguments.items()}
        built = getattr(import_module(module), name)(**arguments)
        if self.features is None:
            return built
        import keras

        x = keras.Input(self.features)
        return keras.Model(x, keras.layers.Dense(5)(built(x)))
