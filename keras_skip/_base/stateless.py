"""A branch without side effects: the state of its layers goes in and comes out.

    y, state', loss = f(values, x)

An assignment inside a conditional, or inside what is computed twice, escapes it on JAX and happens too often elsewhere.
So the branch runs on values that are passed in, and what it changes is assigned once, outside.
"""

from collections.abc import Callable, Iterable

import keras
from keras import ops

from .shapes import Tensor


class Stateless:
    """`branch` as a function of the values of its layers' variables and of its inputs.

    Args:
        owner: The layer that is called; it takes the losses.
        branch: A function of tensors that gives one.
        layers: Those that `branch` runs.
        advice: The end of the error message for a branch that changes other state: how to allow it.
    """

    def __init__(
        self,
        owner: keras.layers.Layer,
        branch: Callable[..., Tensor],
        layers: Iterable[keras.layers.Layer],
        advice: str,
    ) -> None:
        self.owner, self._branch, self._advice = owner, branch, advice
        self.variables = list({id(v): v for layer in layers for v in layer.variables}.values())
        self.values = [ops.convert_to_tensor(v.value) for v in self.variables]
        # Under mixed precision a float weight is read in the compute type: it could not be written back without loss.
        mixed = owner.compute_dtype != owner.variable_dtype
        types = [keras.backend.standardize_dtype(value.dtype) for value in self.values]
        self.trainable = [i for i, v in enumerate(self.variables) if v.trainable]
        self.state = [
            i
            for i, v in enumerate(self.variables)
            if not v.trainable and not (mixed and types[i] == owner.compute_dtype)
        ]
        self._has_losses = False

    def __call__(self, values: list, *inputs: Tensor) -> tuple:
        """The branch's output, the new state, and the sum of the losses that it adds."""
        scope = keras.StatelessScope(state_mapping=list(zip(self.variables, values, strict=True)), collect_losses=True)
        before = [scope.get_current_value(v) for v in self.variables]
        with scope:
            y = self._branch(*inputs)
        after = [scope.get_current_value(v) for v in self.variables]
        for i, variable in enumerate(self.variables):
            if i not in self.state and after[i] is not before[i]:
                raise ValueError(
                    "Expected a branch that changes only its non-trainable state in training (float state under mixed "
                    f"precision needs add_weight(autocast=False)). Received: {variable.path} changes; {self._advice}"
                )
        self._has_losses |= bool(scope.losses)
        loss = sum((ops.cast(ops.sum(loss), "float32") for loss in scope.losses), ops.zeros((), "float32"))
        # Else TensorFlow would derive the conditional's gradient through the moving statistics too, with zeros.
        state = [ops.stop_gradient(ops.cast(after[i], self.variables[i].dtype)) for i in self.state]
        return y, state, loss

    def unchanged(self) -> tuple:
        """State and loss of a branch that does not run."""
        return [self.values[i] for i in self.state], ops.zeros((), "float32")

    def commit(self, state: list, loss: Tensor) -> None:
        """Assigns the new state, and adds the loss if the branch adds any."""
        for i, value in zip(self.state, state, strict=True):
            self.variables[i].assign(value)
        if self._has_losses:
            self.owner.add_loss(loss)
