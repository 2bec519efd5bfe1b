"""Calls a model alike on every backend of Keras: its tensors, exact products, compilation, and kept logits."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras

TENSORFLOW = "tensorflow"


def backend() -> str:
    """Returns the name of Keras's backend."""
    import keras

    return str(keras.config.backend())


def name_reference() -> str:
    """Returns what proofs and error messages call the caller's model: "Keras", or for example "Keras on jax"."""
    return "Keras" if backend() == TENSORFLOW else f"Keras on {backend()}"


def to_tensor(x: np.ndarray) -> Any:
    """Converts an array to a tensor of the backend. Arrays of text need TensorFlow."""
    if backend() == TENSORFLOW:
        import tensorflow as tf

        return tf.constant(x)
    from keras import ops

    return ops.convert_to_tensor(x)


@contextmanager
def compute_exactly() -> Iterator[None]:
    """Keeps matrix products in float32; TF32 and bfloat16 are coarser than the tolerances."""
    with ExitStack() as stack:
        if backend() == TENSORFLOW:
            import tensorflow as tf

            stack.enter_context(tf.device("/CPU:0"))
        elif backend() == "jax":
            import jax

            stack.enter_context(jax.default_matmul_precision("highest"))
        elif backend() == "torch":
            import torch

            stack.enter_context(torch.no_grad())
            stack.enter_context(torch.backends.cudnn.flags(allow_tf32=False))
            products = torch.backends.cuda.matmul
            stack.callback(setattr, products, "allow_tf32", products.allow_tf32)
            products.allow_tf32 = False
        yield


def compile_call(model: "keras.Model", call: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a call of a model for JAX, which otherwise compiles each operation for each shape by itself.

    Args:
        model: The model, whose variables the compiled function reads anew each time.
        call: A function from tensors to dictionaries of tensors.
    """
    import jax
    import keras

    variables = model.variables

    def run(values: list[Any], tensors: tuple[Any, ...]) -> Any:
        with keras.StatelessScope(state_mapping=zip(variables, values, strict=True)):
            return call(*tensors)

    compiled = jax.jit(run)
    return lambda *tensors: compiled([variable.value for variable in variables], tensors)


@contextmanager
def keep_logits() -> Iterator[Callable[[Any], Any]]:
    """Yields a function that returns the logits of an output of softmax or sigmoid, or None for other outputs.

    On TensorFlow, Keras attaches the logits to the output, for the losses. Arrays of JAX take no attributes, so on
    other backends the inputs of softmax and sigmoid are remembered here.
    """
    if backend() == TENSORFLOW:
        yield lambda y: getattr(y, "_keras_logits", None)
        return
    from keras import ops as public
    from keras.src import ops

    given: list[tuple[Any, Any]] = []
    originals = {(module, name): getattr(module, name) for module in (ops, public) for name in ("softmax", "sigmoid")}

    def remember(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(x: Any, *arguments: Any, **options: Any) -> Any:
            y = original(x, *arguments, **options)
            given.append((y, x))
            return y

        return call

    try:
        for (module, name), original in originals.items():
            setattr(module, name, remember(original))
        yield lambda y: next((x for made, x in given if made is y), None)
    finally:
        for (module, name), original in originals.items():
            setattr(module, name, original)
