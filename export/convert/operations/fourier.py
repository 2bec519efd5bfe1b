"""Converts Fourier transforms to matrix products. Here a complex number is a pair of floats.

    fft(x)[k] = sum over n of x[n] (cos(2 pi n k / N) - i sin(2 pi n k / N))
    ifft(x)[n] = sum over k of x[k] (cos(2 pi n k / N) + i sin(2 pi n k / N)) / N
    rfft(x) = the first N // 2 + 1 of fft(x)
    irfft(x)[n] = sum over k of c[k] (re x[k] cos(2 pi n k / N) - im x[k] sin(2 pi n k / N)) / N

where c = 1 for k = 0 and k = N / 2, and 2 for the others. n k is taken modulo N, so that the angles are exact.

onnxruntime's own DFT is exact only where N is a power of two: at N = 1000 it is off by 3e-4 of the largest value, and a
product by 4e-7 (float32, compared with NumPy in double precision).
"""

from typing import TYPE_CHECKING

import numpy as np

from .building import Rewrite, apply, constant, constant_like, replace_node

if TYPE_CHECKING:
    from tf2onnx.graph import Graph, Node

# Values of the graph for the real and the imaginary part, which is None if it is 0.
Pair = tuple[str, str | None]
# A number, or the value of the graph that holds it.
Size = int | str
# Longer transforms would need matrices above 128 MB. Matrices of more elements than _STORED are computed in the graph
# instead of stored in the file.
_LONGEST, _STORED = 2**12, 2**16
# Sines and cosines are rounded to multiples of 1 / _STEPS, which makes those of multiples of a quarter turn exact.
_STEPS = 2.0**48


def convert_cast(graph: "Graph", node: "Node") -> None:
    """Converts a cast of floats to complex numbers."""
    if _is_complex(graph, node.output[0]) and not _is_complex(graph, node.input[0]):
        _replace_with_pair(graph, node, (node.input[0], None))


def convert_part(graph: "Graph", node: "Node") -> None:
    """Converts Real and Imag."""
    if (pair := _find_pair(graph, node)) is not None:
        real, imaginary = pair
        zero = imaginary or apply(graph, "Mul", real, constant_like(graph, 0, real))
        replace_node(graph, node, "Identity", real if node.type == "Real" else zero)


def convert_absolute(graph: "Graph", node: "Node") -> None:
    """Converts ComplexAbs."""
    if (pair := _find_pair(graph, node)) is not None:
        squares = [apply(graph, "Mul", part, part) for part in pair if part is not None]
        replace_node(graph, node, "Sqrt", squares[0] if len(squares) == 1 else apply(graph, "Add", *squares))


def convert_fft(graph: "Graph", node: "Node") -> None:
    """Converts FFT, FFT2D and their inverses."""
    pair = _find_pair(graph, node)
    for axis in (-2, -1) if node.type.endswith("2D") else (-1,):
        length = None if pair is None else _measure(graph, pair[0], axis)
        if pair is None or length is None:
            return
        pair = _transform(graph, pair, axis, length, inverse=node.type.startswith("I"))
    if pair is not None:
        _replace_with_pair(graph, node, pair)


def convert_rfft(graph: "Graph", node: "Node") -> None:
    """Converts RFFT, whose second input says how many numbers of the last axis it transforms."""
    x, given = node.input
    length = _read_length(graph, node)
    if length is None:
        return
    if length != _measure(graph, x, -1):
        x = _take_first(graph, x, given)
    half = length // 2 + 1 if isinstance(length, int) else _halve(graph, length)
    cosines, sines = _make_waves(graph, x, length, half, length)
    imaginary = apply(graph, "Neg", apply(graph, "MatMul", x, sines))
    _replace_with_pair(graph, node, (apply(graph, "MatMul", x, cosines), imaginary))


def convert_irfft(graph: "Graph", node: "Node") -> None:
    """Converts IRFFT of a length that is known."""
    pair, length = _find_pair(graph, node), _read_length(graph, node)
    if pair is None or not isinstance(length, int):
        return
    half = length // 2 + 1
    # The others stand for themselves and for their mirror images.
    counts = np.where(np.arange(half) * 2 % length == 0, 1, 2)[:, None] / length
    parts = [part if part is None else _take_first(graph, part, constant(graph, [half], np.int64)) for part in pair]
    waves = [constant_like(graph, counts * wave, pair[0]) for wave in _compute_waves(half, length, length)]
    products = [apply(graph, "MatMul", x, wave) for x, wave in zip(parts, waves, strict=True) if x is not None]
    if len(products) == 1:
        replace_node(graph, node, "Identity", products[0])
    else:
        replace_node(graph, node, "Sub", *products)


def _is_complex(graph: "Graph", name: str) -> bool:
    from onnx import TensorProto

    return graph.get_dtype(name) in (TensorProto.COMPLEX64, TensorProto.COMPLEX128)


def _find_pair(graph: "Graph", node: "Node") -> Pair | None:
    """Returns the parts of a node's first input: its maker is a Complex node, or has become one."""
    maker = node.inputs[0]
    if maker.type != "Complex":
        return None
    real, *others = maker.input
    imaginary = others[0] if others else None
    return real, None if imaginary is None or _is_zero(maker.inputs[1]) else imaginary


def _is_zero(node: "Node") -> bool:
    if node.type == "Fill":
        return _is_zero(node.inputs[1])
    return node.type == "ZerosLike" or (node.is_const() and not np.any(node.get_tensor_value(as_list=False)))


def _replace_with_pair(graph: "Graph", node: "Node", pair: Pair) -> None:
    """Replaces a node with a Complex node, which is dropped when nothing takes it any more."""
    replace_node(graph, node, "Complex", *(part for part in pair if part is not None))


def _measure(graph: "Graph", x: str, axis: int) -> Size | None:
    """Returns the size of an axis; None if its transform is too long."""
    size = (graph.get_shape(x) or [-1] * -axis)[axis]
    if size < 0:
        return apply(graph, "Gather", apply(graph, "Shape", x), constant(graph, axis, np.int64))
    return size if size <= _LONGEST else None


def _read_length(graph: "Graph", node: "Node") -> Size | None:
    """Returns the length of a transform, which is a node's second input; None if it is too long."""
    from onnx import TensorProto

    if not node.inputs[1].is_const():
        length = apply(graph, "Cast", node.input[1], to=TensorProto.INT64)
        return apply(graph, "Squeeze", length, constant(graph, [0], np.int64))
    known = int(node.inputs[1].get_tensor_value()[0])
    return known if known <= _LONGEST else None


def _take_first(graph: "Graph", x: str, count: str) -> str:
    """Takes the first numbers of the last axis, `count` of them."""
    from onnx import TensorProto

    count = apply(graph, "Cast", count, to=TensorProto.INT64)
    start, last = constant(graph, [0], np.int64), constant(graph, [-1], np.int64)
    return apply(graph, "Slice", x, start, count, last)


def _halve(graph: "Graph", length: str) -> str:
    one, two = (constant(graph, value, np.int64) for value in (1, 2))
    return apply(graph, "Add", apply(graph, "Div", length, two), one)


def _transform(graph: "Graph", pair: Pair, axis: int, length: Size, inverse: bool) -> Pair:
    """Transforms a pair along one of the last two axes."""
    real, imaginary = pair
    cosines, sines = _make_waves(graph, real, length, length, length)
    if not inverse:
        sines = apply(graph, "Neg", sines)

    def times(x: str, matrix: str) -> str:
        # The matrix is symmetric.
        return apply(graph, "MatMul", *((x, matrix) if axis == -1 else (matrix, x)))

    result = times(real, cosines), times(real, sines)
    if imaginary is not None:
        result = (
            apply(graph, "Sub", result[0], times(imaginary, sines)),
            apply(graph, "Add", result[1], times(imaginary, cosines)),
        )
    if inverse:
        count = apply(graph, "Cast", _to_value(graph, length), to=graph.get_dtype(real))
        result = apply(graph, "Div", result[0], count), apply(graph, "Div", result[1], count)
    return result


def _to_value(graph: "Graph", size: Size) -> str:
    return constant(graph, size, np.int64) if isinstance(size, int) else size


def _compute_waves(rows: int, columns: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the cosines and the sines in double precision."""
    angles = 2 * np.pi / length * (np.outer(np.arange(rows), np.arange(columns)) % length)
    cosines, sines = (np.round(wave * _STEPS) / _STEPS for wave in (np.cos(angles), np.sin(angles)))
    return cosines, sines


def _make_waves(graph: "Graph", like: str, rows: Size, columns: Size, length: Size) -> tuple[str, str]:
    """Adds the cosines and the sines: as constants, or computed in the graph if they are large or sizes dynamic."""
    if isinstance(rows, int) and isinstance(columns, int) and isinstance(length, int) and rows * columns <= _STORED:
        cosines, sines = (constant_like(graph, wave, like) for wave in _compute_waves(rows, columns, length))
        return cosines, sines
    from onnx import TensorProto

    zero, one = (constant(graph, value, np.int64) for value in (0, 1))
    n, k = (apply(graph, "Range", zero, _to_value(graph, size), one) for size in (rows, columns))
    products = apply(graph, "Mul", apply(graph, "Unsqueeze", n, constant(graph, [1], np.int64)), k)
    count = _to_value(graph, length)
    turns = apply(graph, "Cast", apply(graph, "Mod", products, count), to=TensorProto.DOUBLE)
    share = apply(graph, "Div", turns, apply(graph, "Cast", count, to=TensorProto.DOUBLE))
    circle, quarter, steps = (constant(graph, value, np.float64) for value in (2 * np.pi, np.pi / 2, _STEPS))
    angles = apply(graph, "Mul", share, circle)
    # onnxruntime has no cosine of doubles.
    waves = [apply(graph, "Sin", angle) for angle in (apply(graph, "Add", angles, quarter), angles)]
    waves = [apply(graph, "Div", apply(graph, "Round", apply(graph, "Mul", wave, steps)), steps) for wave in waves]
    cosines, sines = (apply(graph, "Cast", wave, to=graph.get_dtype(like)) for wave in waves)
    return cosines, sines


REWRITES: dict[str, Rewrite] = {
    "Cast": convert_cast,
    "ComplexAbs": convert_absolute,
    "FFT": convert_fft,
    "FFT2D": convert_fft,
    "IFFT": convert_fft,
    "IFFT2D": convert_fft,
    "IRFFT": convert_irfft,
    "Imag": convert_part,
    "RFFT": convert_rfft,
    "Real": convert_part,
}
