"""Reads the weights of layers from Keras's HDF5 files, by name.

    layers/conv2d_3/vars/0                         Keras 3; the group `vars` has the layer's name as an attribute
    conv1_conv/conv1_conv/kernel:0                 before; the group of a layer has the attribute `weight_names`

Both give {"conv1_conv/kernel": array}. Links are refused, and each object is read only once.
"""

from collections.abc import Iterator

import h5py
import numpy as np

from .checks import refuse_bomb

# Keras 3 numbers a layer's variables in the order in which the layer makes them.
NORM = ("gamma", "beta", "moving_mean", "moving_variance")
KERNEL = ("kernel", "bias")


def likely_names(count: int) -> tuple[str, ...]:
    """Names for the numbered variables of a layer, which are right for convolutions, dense layers and batch norms."""
    kinds = NORM if count == len(NORM) else KERNEL
    return (*kinds, *map(str, range(len(kinds), count)))[:count]


def declared_bytes(group: h5py.Group, seen: set[int] | None = None) -> int:
    """Counts the bytes of all arrays below a group, without reading them.

    Raises:
        ValueError: If an array is outside the file.
    """
    seen = set() if seen is None else seen
    children = [(key, _child(group, key, seen)) for key in _keys(group)]
    return sum(
        declared_bytes(child, seen) if isinstance(child, h5py.Group) else _size(key, child) for key, child in children
    )


def read_layers(root: h5py.Group, held: int) -> dict[str, np.ndarray]:
    """Reads the arrays of the layers, but not the optimizer's.

    Args:
        root: An open HDF5 file.
        held: The bytes of the file on disk.

    Raises:
        ValueError: If it has another structure, holds links, or declares more than it holds.
    """
    seen: set[int] = set()
    if "layers" in _keys(root):
        found = list(_walk_keras3(_child(root, "layers", seen), (), seen))
    else:
        # A whole network in the older form keeps its weights in a group of their own.
        top = _child(root, "model_weights", seen) if "model_weights" in _keys(root) else root
        found = list(_walk_legacy(top, "", "", seen))
    if not found:
        raise ValueError("it holds no layers with weights")
    datasets: dict[str, h5py.Dataset] = {}
    for name, dataset in found:
        if name in datasets:
            raise ValueError(f"it holds two arrays named {name}")
        datasets[name] = dataset
    refuse_bomb("it", sum(_size(name, dataset) for name, dataset in datasets.items()), held)
    return {name: _array(dataset) for name, dataset in datasets.items()}


def _walk_keras3(group: h5py.Group, names: tuple[str, ...], seen: set[int]) -> Iterator[tuple[str, h5py.Dataset]]:
    """Walks the format of Keras 3: a group for each layer under its class or attribute, containers in between."""
    for key in _keys(group):
        child = _child(group, key, seen)
        if not isinstance(child, h5py.Group):
            continue
        if key != "vars":
            held = _child(child, "vars", seen, again=True) if "vars" in _keys(child) else None
            name = held.attrs.get("name") if held is not None else None
            if name is None and held is not None and len(held):
                raise ValueError(f"it holds no name for {child.name}: save it again with a newer Keras")
            yield from _walk_keras3(child, names if name is None else (*names, str(name)), seen)
            continue
        indices = sorted(_keys(child), key=lambda index: (len(index), index))
        for kind, index in zip(likely_names(len(indices)), indices, strict=True):
            yield "/".join((*names, kind)), _child(child, index, seen)


def _walk_legacy(group: h5py.Group, path: str, layer: str, seen: set[int]) -> Iterator[tuple[str, h5py.Dataset]]:
    """Walks the older format: names of layers may hold slashes, and names of weights mostly begin with the layer's."""
    for key in _keys(group):
        child = _child(group, key, seen)
        below = f"{path}/{key}" if path else key
        if isinstance(child, h5py.Dataset):
            inner = below.removeprefix(f"{layer}/").partition(":")[0]
            yield (inner if inner.startswith(f"{layer}/") else f"{layer}/{key.partition(':')[0]}"), child
        else:
            is_layer = any(name.startswith("weight_names") for name in child.attrs)
            yield from _walk_legacy(child, below, below if is_layer else layer, seen)


def _keys(group: h5py.Group) -> list[str]:
    return list(group) if isinstance(group, h5py.Group) else []


def _child(group: h5py.Group, key: str, seen: set[int], again: bool = False) -> h5py.Group | h5py.Dataset:
    """Returns a member in this file that was not met before, so no link can leave the file or form a circle."""
    if not isinstance(group.get(key, getlink=True), h5py.HardLink):
        raise ValueError(f"it holds a link, {key}")
    child = group[key]
    address = h5py.h5o.get_info(child.id).addr
    if address in seen and not again:
        raise ValueError(f"it holds {key} twice")
    if not again:
        seen.add(address)
    return child


def _size(name: str, dataset: h5py.Dataset) -> int:
    """Counts the bytes of an array; refuses one outside the file, or one that declares far more than it holds."""
    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise ValueError(f"{name} is not an array in this file")
    refuse_bomb(name, dataset.nbytes, dataset.id.get_storage_size())
    return int(dataset.nbytes)


def _array(dataset: h5py.Dataset) -> np.ndarray:
    array = dataset[()]
    # HDF5 has no bfloat16: Keras stores its bytes, and says so.
    if dataset.attrs.get("dtype") == "bfloat16":
        import ml_dtypes

        array = array.view(ml_dtypes.bfloat16)
    return np.asarray(array)
