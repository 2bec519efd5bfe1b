"""Doubly stochastic matrices from any numbers: their rows and columns sum to 1, and so do those of their products.

    birkhoff(c)   sum_k softmax(c)_k P_k over all n! permutations P_k of n streams
    sinkhorn(c)   exp(c), its columns and rows divided by their sums `iterations` times, and then rounded (Algorithm 2)

Xie et al., mHC: Manifold-Constrained Hyper-Connections, 2025, https://arxiv.org/abs/2512.24880
Altschuler et al., Near-linear Time Approximation Algorithms for Optimal Transport, 2017, Algorithm 2,
https://arxiv.org/abs/1705.09634
"""

import functools
import itertools
import math

import numpy as np
from keras import ops

from .._base.shapes import Tensor

KEPT = 0.9  # the weight of the identity at the start
TINY = 1e-30


def project_normalized(x: Tensor, kernel: Tensor, epsilon: float) -> Tensor:
    """(x / RMS(x)) W for vectors (positions, width). The division comes after the product, which is narrower than x."""

    # Automatic gradients of the square and the mean would pass over the wide x four times.
    @ops.custom_gradient
    def project(x: Tensor, kernel: Tensor) -> tuple:
        scale = ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + epsilon)
        product = ops.matmul(x, kernel)

        def gradient(*args: Tensor, upstream: Tensor | None = None) -> tuple:
            dy = scale * (args[0] if upstream is None else upstream)
            of_scale = ops.square(scale) * ops.sum(dy * product, axis=-1, keepdims=True) / x.shape[-1]
            return ops.matmul(dy, ops.transpose(kernel)) - of_scale * x, ops.matmul(ops.transpose(x), dy)

        return product * scale, gradient

    return project(x, kernel)


def birkhoff(logits: Tensor, n: int) -> Tensor:
    """Matrices (positions, n, n) from logits (positions, n!); the first logit is that of the identity."""
    permutations = ops.convert_to_tensor(_permutations(n), logits.dtype)
    m = ops.reshape(ops.matmul(ops.softmax(logits), permutations), (-1, n, n))
    return m / ops.sum(m, axis=-1, keepdims=True)  # XLA's softmax only sums to 1 within 1e-6


@functools.cache
def _permutations(n: int) -> np.ndarray:
    """All permutation matrices, the identity first, each in a row."""
    return np.eye(n)[list(itertools.permutations(range(n)))].reshape(-1, n * n)


def sinkhorn(logits: Tensor, n: int, iterations: int) -> Tensor:
    """Matrices (positions, n, n) from logits (positions, n * n)."""
    # With the positions last, each sum adds n long rows, which takes a third of the time.
    m = ops.reshape(ops.transpose(logits), (n, n, -1))
    m = m - ops.stop_gradient(ops.max(m, axis=0, keepdims=True))
    m = ops.exp(ops.maximum(m, -80.0))  # exp of less could be 0, and so could whole rows
    for _ in range(iterations):
        m = m / ops.sum(m, axis=0, keepdims=True)
        m = m / ops.sum(m, axis=1, keepdims=True)
    # Columns may not sum to 1 yet. Shrink those above 1, then add what rows and columns lack.
    m = m * ops.minimum(1.0 / ops.sum(m, axis=0, keepdims=True), 1.0)
    rows = ops.relu(1.0 - ops.sum(m, axis=1, keepdims=True))
    columns = ops.relu(1.0 - ops.sum(m, axis=0, keepdims=True))
    m = m + rows * (columns / ops.maximum(ops.sum(rows, axis=0, keepdims=True), TINY))
    return ops.transpose(m, (2, 0, 1))


def start_birkhoff(n: int) -> np.ndarray:
    """Logits of a matrix close to the identity."""
    return _prefer(np.arange(math.factorial(n)) == 0)


def start_sinkhorn(n: int) -> np.ndarray:
    """Logits of a matrix close to the identity."""
    return _prefer(np.eye(n, dtype=bool)).ravel()


def _prefer(chosen: np.ndarray) -> np.ndarray:
    """Logits whose softmax along the last axis gives the chosen entry the weight KEPT."""
    return chosen * math.log(KEPT / (1 - KEPT) * (chosen.shape[-1] - 1))
