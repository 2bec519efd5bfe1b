"""Recurrent highway layers: in each time step, the state passes through several highway layers.

    s_d = h_d * t_d + s_(d-1) * c_d,   d = 1 ... D
    h_d = tanh([d = 1] W_H x + R_Hd s_(d-1) + b_Hd)
    t_d = sigmoid([d = 1] W_T x + R_Td s_(d-1) + b_Td)
    c_d = sigmoid([d = 1] W_C x + R_Cd s_(d-1) + b_Cd)      carry="learned"
    c_d = 1 - t_d                                           carry="coupled"

x is the input of the time step, s_0 the state after the previous step, and s_D the output. * multiplies element by
element.
"""

from collections.abc import Sequence
from typing import Any, Self

import keras
from keras import ops

# Keras does not export this class. It draws dropout masks once for a sequence, before the loop, only for its instances.
from keras.src.layers.rnn.dropout_rnn_cell import DropoutRNNCell

from ._base.arguments import Argument, number, one_of, own_initializer, positive_int
from ._base.config import PACKAGE, ConfiguredLayer
from ._base.shapes import Tensor
from ._parts.block import BLOCK_ARGUMENTS, activation_function

CELL_ARGUMENTS = {
    "activation": Argument("tanh", activation_function),
    "recurrent_activation": Argument("sigmoid", activation_function),
    "kernel_initializer": BLOCK_ARGUMENTS["kernel_initializer"]._replace(default="glorot_uniform"),
    "recurrent_initializer": BLOCK_ARGUMENTS["kernel_initializer"]._replace(default="orthogonal"),
    "bias_initializer": BLOCK_ARGUMENTS["bias_initializer"],
    "kernel_regularizer": BLOCK_ARGUMENTS["kernel_regularizer"],
    "recurrent_regularizer": BLOCK_ARGUMENTS["kernel_regularizer"],
    "bias_regularizer": BLOCK_ARGUMENTS["bias_regularizer"],
    "kernel_constraint": BLOCK_ARGUMENTS["kernel_constraint"],
    "recurrent_constraint": BLOCK_ARGUMENTS["kernel_constraint"],
    "bias_constraint": BLOCK_ARGUMENTS["bias_constraint"],
    "dropout": BLOCK_ARGUMENTS["dropout"],
    "recurrent_dropout": BLOCK_ARGUMENTS["dropout"],
    "seed": BLOCK_ARGUMENTS["seed"],
}

CELL_OPTIONS_DOC = """
    activation, recurrent_activation: Names or functions, for the updates h and the gates. Defaults "tanh", "sigmoid".
    kernel_initializer, recurrent_initializer, bias_initializer: For W, R and the bias of h. Each depth draws its
        own initial values. Defaults "glorot_uniform", "orthogonal", "zeros".
    kernel_regularizer, recurrent_regularizer, bias_regularizer: As in `keras.layers.GRU`; those of R and of the biases
        apply at each depth. Default None.
    kernel_constraint, recurrent_constraint, bias_constraint: Likewise. Default None.
    dropout, recurrent_dropout: Drop rates in [0, 1) of x and s_(d-1) where W and R read them. The state that the carry
        gate passes on is never dropped. Each sequence has one mask for x and one for the states, at all its steps and
        depths. Default 0.
    seed: Integer seed of the masks. Default None.
    """


@keras.saving.register_keras_serializable(PACKAGE)
class RecurrentHighwayCell(ConfiguredLayer, DropoutRNNCell):
    """One time step of a recurrent highway layer, for `keras.layers.RNN` and `keras.layers.StackedRNNCells`.

        s_d = h_d * t_d + s_(d-1) * c_d,   d = 1 ... depth
        h_d = tanh([d = 1] W_H x + R_Hd s_(d-1) + b_Hd)
        t_d = sigmoid([d = 1] W_T x + R_Td s_(d-1) + b_Td)
        c_d = sigmoid([d = 1] W_C x + R_Cd s_(d-1) + b_Cd), or 1 - t_d with carry="coupled"

    Only the first depth reads the input x. s_0 is the state, and the last s_d is both the output and the next state.

    Args:
        units: Size of the state.
        depth: Number of highway layers in each step. Default 3.
        carry: "learned" or "coupled". Default "learned".
        transform_bias: Initial b_T. Negative values start each layer close to the identity. Default -2.
        carry_bias: Initial b_C of the learned carry gate. Default 2.
        {options}
        **kwargs: `name`, `dtype`, `trainable`, as in every Keras layer.

    Call arguments:
        inputs: The inputs of one step, (B, channels).
        states: The state after the previous step, (B, units), or a list that holds it.
        training: Whether to apply dropout. Outside `keras.layers.RNN`, each call of the cell draws new masks.

    Output shape:
        (B, units), and the new state in the form of `states`.

    Raises:
        ValueError: For arguments out of range; in `build`, for an input of the wrong rank or with an unknown number of
            channels.

    Example:

    >>> import keras
    >>> from keras_skip import RecurrentHighwayCell
    >>> cells = [RecurrentHighwayCell(16), RecurrentHighwayCell(8, depth=2)]
    >>> keras.layers.RNN(cells, return_sequences=True)(keras.ops.ones((2, 5, 4))).shape == (2, 5, 8)
    True

    Reference:
        Zilly et al., Recurrent Highway Networks, 2017, https://arxiv.org/abs/1607.03474
    """

    ARGUMENTS = CELL_ARGUMENTS
    OPTIONS_DOC = CELL_OPTIONS_DOC

    def __init__(
        self,
        units: int,
        depth: int = 3,
        carry: str = "learned",
        transform_bias: float = -2.0,
        carry_bias: float = 2.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.units = positive_int(units, "units")
        self.depth = positive_int(depth, "depth")
        self.carry = one_of(carry, "carry", ("learned", "coupled"))
        self.transform_bias = number(transform_bias, "transform_bias")
        self.carry_bias = number(carry_bias, "carry_bias")
        self.state_size = self.output_size = self.units
        drops = self.dropout or self.recurrent_dropout
        self.seed_generator = keras.random.SeedGenerator(self.seed) if drops else None
        self._input_mask = self._state_mask = None

    def build(self, input_shape: Sequence[int | None]) -> None:
        channels = _read_channels(input_shape, ("B", "C"))
        biases = [self.transform_bias] + [self.carry_bias] * (self.carry == "learned")
        width = self.units * (1 + len(biases))
        self.kernel = self._add_kernel("kernel", channels, width, self.kernel_initializer)
        self.recurrent_kernels, self.biases = [], []
        for d in range(1, self.depth + 1):
            own = own_initializer(self.recurrent_initializer, f"recurrent_kernel{d}")
            self.recurrent_kernels.append(self._add_kernel(f"recurrent_kernel{d}", self.units, width, own))
            self.biases.append(self._add_bias(f"bias{d}", width, biases))

    def _add_kernel(self, name: str, channels: int, width: int, initializer: Any) -> keras.Variable:
        """The maps of h and of the gates, side by side, as one kernel."""
        kind = "kernel" if name == "kernel" else "recurrent"
        return self.add_weight(
            shape=(channels, width),
            initializer=initializer,
            regularizer=getattr(self, f"{kind}_regularizer"),
            constraint=getattr(self, f"{kind}_constraint"),
            name=name,
        )

    def _add_bias(self, name: str, width: int, of_gates: Sequence[float]) -> keras.Variable:
        def start(shape: Sequence[int], dtype: Any = None) -> Tensor:
            of_update = own_initializer(self.bias_initializer, name)((self.units,), dtype=dtype)
            return ops.concatenate([of_update, *(ops.full((self.units,), each, dtype=dtype) for each in of_gates)])

        return self.add_weight(
            shape=(width,),
            initializer=start,
            regularizer=self.bias_regularizer,
            constraint=self.bias_constraint,
            name=name,
        )

    def call(self, inputs: Tensor, states: Tensor | Sequence[Tensor], training: bool | None = False) -> tuple:
        is_list = isinstance(states, (list, tuple))
        state = states[0] if is_list else states
        state_mask = None
        if training and self.dropout:
            inputs = inputs * (self._draw(inputs, self.dropout) if self._input_mask is None else self._input_mask)
        if training and self.recurrent_dropout:
            drawn = self._state_mask
            state_mask = self._draw(state, self.recurrent_dropout) if drawn is None else drawn
        for d, (kernel, bias) in enumerate(zip(self.recurrent_kernels, self.biases, strict=True)):
            z = ops.matmul(state if state_mask is None else state * state_mask, kernel) + bias
            z = z + ops.matmul(inputs, self.kernel) if d == 0 else z
            update, *gates = ops.split(z, z.shape[-1] // self.units, axis=-1)
            transform, *carry = (self.recurrent_activation(gate) for gate in gates)
            state = self.activation(update) * transform + state * (carry[0] if carry else 1.0 - transform)
        return state, [state] if is_list else state

    def get_initial_state(self, batch_size: Any = None) -> list[Tensor]:
        # In a list: on JAX, Keras looks for the output of a masked step of stacked cells in the list of the last one.
        return [ops.zeros((batch_size, self.units), dtype=self.compute_dtype)]

    def get_dropout_mask(self, step_input: Tensor) -> Tensor | None:
        """Draws the mask of the inputs of a sequence, for inputs like those of its first step."""
        self._input_mask = self._draw(step_input, self.dropout) if self.dropout else None
        return self._input_mask

    def get_recurrent_dropout_mask(self, step_input: Tensor) -> Tensor | None:
        """Draws the mask of the states of a sequence, for states like its initial one."""
        self._state_mask = self._draw(step_input, self.recurrent_dropout) if self.recurrent_dropout else None
        return self._state_mask

    def reset_dropout_mask(self) -> None:
        self._input_mask = None

    def reset_recurrent_dropout_mask(self) -> None:
        self._state_mask = None

    def _draw(self, x: Tensor, rate: float) -> Tensor:
        kept = keras.random.uniform(ops.shape(x), dtype="float32", seed=self.seed_generator) >= rate
        return ops.cast(kept, x.dtype) / (1.0 - rate)


def _read_channels(input_shape: Sequence[int | None], axes: tuple[str, ...]) -> int:
    shape = tuple(input_shape)
    if len(shape) != len(axes) or shape[-1] is None:
        raise ValueError(
            f"Expected an input of shape ({', '.join(axes)}), with the channels C defined. "
            f"Received: input_shape={shape}"
        )
    return shape[-1]


@keras.saving.register_keras_serializable(PACKAGE)
class RecurrentHighway(keras.layers.RNN, ConfiguredLayer):
    """Recurrent layer whose state passes through several highway layers in each time step.

        s_d = h_d * t_d + s_(d-1) * c_d,   d = 1 ... depth
        h_d = tanh([d = 1] W_H x + R_Hd s_(d-1) + b_Hd)
        t_d = sigmoid([d = 1] W_T x + R_Td s_(d-1) + b_Td)
        c_d = sigmoid([d = 1] W_C x + R_Cd s_(d-1) + b_Cd), or 1 - t_d with carry="coupled"

    x is the input of a time step, s_0 the state after the previous step, and the last s_d the output. Between one state
    and the next lie `depth` layers, and the gates carry the state and its gradients through them.

    Args:
        units: Size of the state and of the output.
        depth: Number of highway layers in each step. Default 3.
        carry: "learned", or "coupled" as in the paper's experiments. Default "learned".
        transform_bias: Initial b_T. Negative values start each layer close to the identity. Default -2.
        carry_bias: Initial b_C of the learned carry gate. Default 2.
        return_sequences, return_state, go_backwards, stateful, unroll, zero_output_for_mask: As in `keras.layers.RNN`.
            Default False.
        {options}
        **kwargs: `name`, `dtype`, `trainable`, `activity_regularizer`, as in every Keras layer.

    Call arguments:
        sequences: Tensor (B, T, channels).
        initial_state: A list of one tensor (B, units), the state before the first step. Default: zeros, or the last
            state of a `stateful` layer.
        mask: Boolean (B, T). A masked step leaves the state as it is.
        training: Whether to apply dropout.

    Output shape:
        (B, units), or (B, T, units) with `return_sequences`. `return_state` adds the last state, (B, units).

    Raises:
        ValueError: For arguments out of range; in `build`, for an input of the wrong rank or with an unknown number of
            channels.

    Example:

    >>> import keras
    >>> from keras_skip import RecurrentHighway
    >>> x = keras.Input((None, 8))
    >>> y = keras.layers.Bidirectional(RecurrentHighway(16, depth=4, carry="coupled", return_sequences=True))(x)
    >>> y.shape
    (None, None, 32)
    >>> RecurrentHighway(16, dropout=0.2, recurrent_dropout=0.2)(y).shape
    (None, 16)

    Reference:
        Zilly et al., Recurrent Highway Networks, 2017, https://arxiv.org/abs/1607.03474
    """

    ARGUMENTS = CELL_ARGUMENTS
    OPTIONS_DOC = CELL_OPTIONS_DOC

    def __init__(
        self,
        units: int,
        depth: int = 3,
        carry: str = "learned",
        transform_bias: float = -2.0,
        carry_bias: float = 2.0,
        *,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **options: Any,
    ) -> None:
        of_cell = {name: value for name, value in options.items() if name in CELL_ARGUMENTS or name == "dtype"}
        cell = RecurrentHighwayCell(units, depth, carry, transform_bias, carry_bias, **of_cell, name="cell")
        super().__init__(
            cell=cell,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            zero_output_for_mask=zero_output_for_mask,
            **options,
        )
        self.units, self.depth, self.carry = cell.units, cell.depth, cell.carry
        self.transform_bias, self.carry_bias = cell.transform_bias, cell.carry_bias
        self.input_spec = keras.layers.InputSpec(ndim=3)

    def build(self, sequences_shape: Sequence[int | None], initial_state_shape: Any = None) -> None:
        channels = _read_channels(sequences_shape, ("B", "T", "C"))
        self._add("cell", self.cell, (sequences_shape[0], channels))
        super().build(sequences_shape)

    def get_config(self) -> dict[str, Any]:
        return {name: value for name, value in super().get_config().items() if name != "cell"}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return super(keras.layers.RNN, cls).from_config(config)  # RNN's own needs a cell in the configuration
