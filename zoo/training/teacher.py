"""What the teacher of a recipe names: a network and its weights, or a path. It is checked before Keras is loaded."""

from pathlib import Path

from .._names import nearest
from ..networks.catalogue import MODELS
from ..weights.catalogue import find
from ..weights.loading import check_loadable


def check_teacher(teacher: str) -> None:
    """Raises a ValueError unless there is such a teacher, without reading a file; see `Recipe`."""
    named = split_teacher(teacher)
    if named is None and not Path(teacher).exists():
        network, slash, weights = teacher.partition("/")
        near = [name for name in nearest(network, MODELS) if slash and find(name, weights)]
        hint = f". Did you mean {' or '.join(f'{name}/{weights}' for name in near)}?" if near else ""
        raise ValueError(
            "Expected teacher to be a network and its weights, such as 'resnet20/cifar10', a .keras file or the folder "
            f"of a run. Received: teacher={teacher!r}{hint or ', which does not exist'}"
        )
    check_loadable(*(named or (Path(teacher),)))


def split_teacher(teacher: str) -> tuple[str, str] | None:
    """Returns network and weights of a teacher that is given as NETWORK/WEIGHTS."""
    network, slash, weights = teacher.partition("/")
    return (network, weights) if slash and network in MODELS and not Path(teacher).exists() else None
