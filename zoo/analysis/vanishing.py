"""Shows why a gradient vanishes: it is a product of one derivative for each layer.

    y = h(x)                 dy/dx = h'                plain
    y = x + h(x)             dy/dx = 1 + h'            residual
    y = T h(x) + (1 - T) x   dy/dx = T h' + (1 - T)    highway, with a gate that does not depend on x

After n layers it is the n-th power. 0.8 ** 20 is 0.0115: the gradient vanishes. 1 + 0.8 makes it grow instead, which is
why residual branches are normalised or start small; a gate keeps the factor between h' and 1.
"""

from itertools import accumulate, repeat
from math import exp
from operator import mul
from typing import NamedTuple


class Product(NamedTuple):
    """What is left of a gradient of 1 after some layers with one kind of connection."""

    connection: str
    layers: int
    gradient: float


def vanishing_product(derivative: float = 0.8, layers: int = 20, transform_bias: float = -2.0) -> list[Product]:
    """Multiplies equal derivatives over the layers, without a skip, with a skip, and with a gated skip.

    Args:
        derivative: h', the derivative of each layer's function.
        layers: How many layers.
        transform_bias: b of the highway layers' gate T = sigmoid(b).

    Returns:
        A `Product` for each connection ("plain", "residual", "highway", each with its factor) and each number of layers
        from 0 on.

    Raises:
        ValueError: If the derivative is not positive, or if there are no layers.

    Example:

    >>> import zoo
    >>> round(zoo.vanishing_product(0.8, layers=20)[20].gradient, 4)
    0.0115

    Reference:
        He et al., Identity Mappings in Deep Residual Networks, 2016, https://arxiv.org/abs/1603.05027
    """
    if not derivative > 0:
        raise ValueError(f"Expected derivative to be positive. Received: derivative={derivative!r}")
    if not isinstance(layers, int) or isinstance(layers, bool) or layers < 1:
        raise ValueError(f"Expected layers to be a whole number of at least 1. Received: layers={layers!r}")
    transform = 1 / (1 + exp(-transform_bias))
    factors = {
        "plain: h'": derivative,
        "residual: 1 + h'": 1 + derivative,
        "highway: T h' + (1 - T)": transform * derivative + 1 - transform,
    }
    return [
        Product(f"{name} = {factor:.3g}", layer, gradient)
        for name, factor in factors.items()
        for layer, gradient in enumerate(accumulate(repeat(factor, layers), mul, initial=1.0))
    ]
