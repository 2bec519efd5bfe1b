"""Takes random rows of a batch, and adds an update that is computed from them to the same rows.

S = k of the B rows,   k = max(1, floor(p B))
y[S] = x[S] + update,   y = x elsewhere
"""

import keras
from keras import ops

from .._base.shapes import Tensor

ROUNDING = 1e-3  # 0.29 * 100 is 28.999999999999996


def choose_rows(x: Tensor, fraction: float, seed: keras.random.SeedGenerator) -> tuple[Tensor, Tensor | float]:
    """The indices of k rows of x, in ascending order, and B / k."""
    batch = ops.shape(x)[0]
    if keras.backend.backend() == "jax" and not isinstance(batch, int):
        return ops.arange(batch), 1.0  # JAX only infers shapes here
    if isinstance(batch, int):
        k = max(1, int(fraction * batch + ROUNDING))
        gain = batch / k
    else:
        k = ops.maximum(1, ops.cast(ops.cast(batch, "float32") * fraction + ROUNDING, "int32"))
        gain = ops.cast(batch, "float32") / ops.cast(k, "float32")
    order = ops.argsort(keras.random.uniform((batch,), dtype="float32", seed=seed))
    return ops.sort(order[:k]), gain


def take_rows(x: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if x is None else ops.take(x, rows, axis=0)


def split_rows(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """x, and these rows of it."""
    if keras.backend.backend() != "tensorflow":
        return x, ops.take(x, rows, axis=0)
    import tensorflow as tf

    # TensorFlow's own gradient concatenates both gradients and sums their rows, which takes three times as long.
    @tf.custom_gradient
    def split(x: Tensor) -> tuple:
        def gradient(dx: Tensor, taken: Tensor) -> Tensor:
            return tf.tensor_scatter_nd_add(tf.convert_to_tensor(dx), rows[:, None], tf.convert_to_tensor(taken))

        return (tf.identity(x), tf.gather(x, rows)), gradient

    return split(x)


def add_rows(x: Tensor, rows: Tensor, update: Tensor) -> Tensor:
    """x with the update added to these rows."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.tensor_scatter_nd_add(x, rows[:, None], update)
    if keras.backend.backend() == "jax":
        return x.at[rows].add(update, unique_indices=True, indices_are_sorted=True)
    return x.index_add(0, rows, update)


def fill_rows(x: Tensor, rows: Tensor, update: Tensor) -> Tensor:
    """The update in these rows, and zeros in the other rows of x."""
    return ops.scatter(rows[:, None], update, (ops.shape(x)[0], *ops.shape(update)[1:]))
