"""The function that is exported: raw input -> preprocessing -> model -> activation."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import ExportError, error_line
from ..storage.arrays import Batch
from ..storage.schema import Activation, Layout
from .backends import backend, compile_call, compute_exactly, keep_logits, to_tensor
from .float32 import compute_in_float32
from .inputs import TEXT, RawInput
from .layout import move_channels, move_shape_channels
from .signature import Input, Signature

if TYPE_CHECKING:
    import keras
    from tensorflow import Tensor, TensorSpec


@dataclass(frozen=True)
class Gates:
    """The output with the gates of highway blocks: the mean of C(x) for each example and block.

    Attributes:
        output: Its name.
        layers: The names of the blocks in the order of their calls; a block that is called twice is named twice.
    """

    output: str
    layers: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields, ready for JSON."""
        return {**asdict(self), "layers": list(self.layers)}


@dataclass(frozen=True)
class Endpoint:
    """A model with the preprocessing and the activation around it in the exported graph.

    Attributes:
        model: The Keras model, computing in float32 (or wider).
        signature: How the model is called.
        inputs: The inputs of the graph.
        outputs: The names of the outputs of the graph; the gates come last.
        activation: The activation after the model, if there is one.
        moves_channels: Whether the channels of images move at the edge of the graph.
        channels_first: Whether the channels come first at the edge of the graph.
        trained_precision: The dtype policy of a model that was trained in less than float32.
        gates: The output with the gates of highway blocks, if there is one.
        widens: Whether the model itself computes in half precision, and has to compute in float32 here.
        weight_scale: The factor by which matrices and kernels are larger than the model's own during a run.
    """

    model: "keras.Model"
    signature: Signature
    inputs: tuple[RawInput, ...]
    outputs: tuple[str, ...]
    activation: Activation | None
    moves_channels: bool
    channels_first: bool
    trained_precision: str | None
    gates: Gates | None = None
    widens: bool = False
    weight_scale: int = 1
    _compiled: dict[tuple, Callable[..., Any]] = field(default_factory=dict, compare=False, repr=False)

    def __call__(self, *tensors: "Tensor") -> "dict[str, Tensor]":
        """Runs on tensors in the order of the inputs, eagerly or in a trace."""
        return self.call_with_logits(*tensors)[0]

    def call_with_logits(self, *tensors: "Tensor") -> "tuple[dict[str, Tensor], dict[str, Tensor]]":
        """Runs on tensors, and also returns the logits of outputs that end in a softmax or sigmoid."""
        from keras import ops

        prepared = [
            self._prepare(raw, own, x) for raw, own, x in zip(self.inputs, self.signature.inputs, tensors, strict=True)
        ]
        float32 = compute_in_float32(self.model) if self.widens else nullcontext()
        with float32, _scale_weights(self.model, self.weight_scale), _avoid_cudnn(self.model), keep_logits() as kept:
            given, carried = self._call_model(prepared)
        if self.activation is not None:
            logits = given
            given = [getattr(ops, self.activation)(y) for y in given]
        else:
            logits = [kept(y) for y in given]
        if self.moves_channels:
            given = [move_channels(y, last_to_first=self.channels_first) for y in given]
        known = {name: y for name, y in zip(self.outputs, logits, strict=False) if y is not None}
        return dict(zip(self.outputs, [*given, *carried], strict=True)), known

    def _call_model(self, prepared: "list[Tensor]") -> "tuple[list[Tensor], list[Tensor]]":
        """Returns the outputs of the model, and that of the gates if there is one."""
        if self.gates is None:
            return list(self.signature.call(self.model, prepared).values()), []
        from keras import ops

        from keras_skip.highway import recorded_gates

        with recorded_gates() as gates:
            given = list(self.signature.call(self.model, prepared).values())
        carried = [ops.mean(carry, axis=tuple(range(1, len(carry.shape)))) for _, _, carry in gates]
        return given, [ops.stack(carried, axis=1)]

    def _prepare(self, raw: RawInput, own: Input, x: "Tensor") -> "Tensor":
        from keras import name_scope, ops

        if raw.preprocessing is not None and not raw.preprocessing.is_identity:
            with name_scope("preprocessing"):
                x = raw.preprocessing.apply(x, ops.cast)
        if self.moves_channels:
            x = move_channels(x, last_to_first=not self.channels_first)
        return x if own.dtype == TEXT else ops.cast(x, own.dtype)

    @property
    def model_outputs(self) -> tuple[str, ...]:
        """The names of the outputs without the gates."""
        return self.outputs if self.gates is None else self.outputs[:-1]

    @property
    def output_shapes(self) -> list[tuple[int | None, ...]]:
        """The shapes of the outputs; dynamic sizes are None."""
        own = self.signature.output_shapes
        carried = [] if self.gates is None else [(None, len(self.gates.layers))]
        return [
            *(move_shape_channels(shape, self.channels_first) if self.moves_channels else shape for shape in own),
            *carried,
        ]

    @property
    def layout(self) -> Layout | None:
        """The axis of the channels at the edge of the graph; None if it takes no images."""
        if not any(len(raw.shape) > 3 for raw in self.inputs):
            return None
        return "nchw" if self.channels_first else "nhwc"

    def tensor_specs(self) -> "list[TensorSpec]":
        """Returns a tf.TensorSpec for each raw input."""
        import tensorflow as tf

        return [tf.TensorSpec(raw.shape, raw.tensor_dtype, name=raw.name) for raw in self.inputs]

    def run(self, batch: Batch) -> Batch:
        """Runs on a batch, layer by layer and without tracing; every other form is compared with this."""
        return self.run_with_logits(batch)[0]

    def run_with_logits(self, batch: Batch) -> tuple[Batch, Batch]:
        """Runs on a batch likewise, and also returns the known logits."""
        try:
            given = self.compute(batch)
        except Exception as error:  # The model's own code may raise anything.
            shapes = ", ".join(f"{name} {x.shape}" for name, x in batch.items())
            raise ExportError(
                f"Expected a model that runs on {shapes}. Received: {self.model.name}, which raised {error_line(error)}"
            ) from error
        texts = [name for name, y in given[0].items() if y.dtype.kind == "O"]
        if texts:
            received = f"{self.model.name}, whose {', '.join(texts)} is text"
            raise ExportError(f"Expected a model whose outputs are numbers. Received: {received}")
        return given

    def compute(self, batch: Batch) -> tuple[Batch, Batch]:
        """Runs on a batch likewise, but does not turn errors of the model's own code into an ExportError."""
        from keras import ops

        with compute_exactly():
            call = self._compile() if backend() == "jax" else self.call_with_logits
            given = call(*[to_tensor(batch[raw.name]) for raw in self.inputs])
            # JAX sorts dictionaries.
            outputs, logits = (
                {name: ops.convert_to_numpy(side[name]) for name in self.outputs if name in side} for side in given
            )
            return outputs, logits

    def _compile(self) -> Callable[..., Any]:
        # Copies of an endpoint share what they compile.
        key = (id(self.model), self.outputs, self.widens, self.weight_scale)
        if key not in self._compiled:
            self._compiled[key] = compile_call(self.model, self.call_with_logits)
        return self._compiled[key]


@contextmanager
def _scale_weights(model: "keras.Model", times: int) -> Iterator[None]:
    """Runs a model with larger weights, and leaves its own as they are."""
    import keras

    if times == 1:
        yield
        return
    large = [w for w in model.variables if keras.backend.is_float_dtype(w.dtype) and len(w.shape) > 1]
    with keras.StatelessScope(state_mapping=[(w, keras.ops.multiply(w.value, times)) for w in large]):
        yield


@contextmanager
def _avoid_cudnn(model: "keras.Model") -> Iterator[None]:
    """Keeps cuDNN's operations out of a call: Keras uses them on a machine with a GPU, and ONNX does not have them."""
    chosen = [(layer, layer.use_cudnn) for layer in model._flatten_layers() if hasattr(layer, "use_cudnn")]
    try:
        for layer, _ in chosen:
            layer.use_cudnn = False
        yield
    finally:
        for layer, choice in chosen:
            layer.use_cudnn = choice
