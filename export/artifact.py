"""Exports an artifact: a folder with a trained network to serve, and the proof that its forms compute the same thing.

    saved_model/    the SavedModel
    model.onnx      the ONNX file; above 2 GB its weights are in model.onnx.data
    artifact.json   names, shapes, types, labels, how images are read, preprocessing, opset, versions, file hashes
    parity.json     the comparisons, with their inputs and every figure
    model.tflite    and other files of `targets`, if there are any
    samples.npz     inputs and Keras's answers, with which anyone can check the artifact without Keras; with
                    record="none" there is no such file

Both models take raw input and end with `activation`. Preprocessing is part of the graph.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from .convert.onnx_model import write_onnx
from .convert.versions import DEFAULT_OPSET, choose_opset
from .description import describe
from .engines.choice import choose_engine, open_engine
from .engines.engine import Engine, EngineName
from .errors import ExportError
from .images import ImageReader
from .model.endpoint import Endpoint
from .model.inputs import TEXT
from .model.signature import Samples
from .model.wrapping import add_gates, make_endpoint
from .precision.fp16_search import rewrite_in_fp16
from .precision.quantisation import rewrite_quantised
from .precision.tolerances import FP16, FP32, INT8, INT8_DYNAMIC, PRECISIONS, QUANTISED, Precision
from .preprocessing import Preprocessing
from .proof.prove import measure_difference, prove, record_samples, strengthen_proof
from .proof.recording import Record, check_record
from .proof.reference import BATCH_SIZES, Reference, compute_reference
from .quantisation_data import check_quantisation_data
from .runtime.providers import Device, check_device
from .steps import STEPS
from .storage.arrays import Batch
from .storage.manifest import ONNX, PARITY, SAMPLES, SAVED_MODEL, is_artifact, write_json, write_manifest
from .storage.publishing import publish
from .storage.schema import FORMATS, TASKS, Activation, Layout, Task, check_task, find_other_input, takes_rows
from .tables import Columns
from .targets.proving import add_targets, check_targets

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Artifact:
    """An exported network on disk.

    Attributes:
        path: The folder.
        metadata: The contents of artifact.json.
        parity: The contents of parity.json.
    """

    path: Path
    metadata: dict[str, Any]
    parity: dict[str, Any]

    def __repr__(self) -> str:
        formats, precision = self.metadata.get("formats"), self.parity.get("precision", {}).get("name")
        difference = self.parity.get("max_abs_diff", float("nan"))
        return f"Artifact({str(self.path)!r}, {formats=}, {precision=}, max_abs_diff={difference:.2g})"

    @property
    def weak(self) -> dict[str, str]:
        """The outputs about which the proof says little, and why, such as that no input moves them."""
        return dict(self.parity.get("weak", {}))

    @property
    def onnx(self) -> Path:
        """The ONNX file."""
        return self.path / ONNX

    @property
    def saved_model(self) -> Path:
        """The SavedModel's folder."""
        return self.path / SAVED_MODEL


def export(
    model: "keras.Model",
    path: str | Path,
    *,
    preprocessing: Preprocessing | Mapping[str, Any] | None = None,
    activation: Activation | None = None,
    labels: Sequence[str] | None = None,
    task: Task | None = None,
    target_names: Sequence[str] | None = None,
    table: Mapping[str, Any] | None = None,
    samples: Samples | None = None,
    record: Record = "all",
    formats: Sequence[str] | None = None,
    targets: Sequence[str] = (),
    opset: int = DEFAULT_OPSET,
    for_runtime: str | None = None,
    engine: EngineName | None = None,
    precision: Precision = FP32,
    calibration: Samples | None = None,
    test: tuple[Samples, ArrayLike] | None = None,
    max_accuracy_drop: float = 0.5,
    layout: Layout | None = None,
    image: ImageReader | None = None,
    device: Device | None = None,
    name: str | None = None,
    gates: bool = False,
    overwrite: bool = False,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    atol: float | None = None,
    rtol: float | None = None,
    seed: int = 0,
) -> Artifact:
    """Exports a model as an artifact, which appears at its path only once it is proven.

    Keras is compared with the reloaded SavedModel and with onnxruntime: not optimised, optimised, and on CUDA if there
    is a GPU, each provider in a process of its own; in "fp16" also with every result rounded, as a GPU does. Inputs and
    outputs have the model's names. If Keras generated the name of a single one, it is called "input" or "output".

    Args:
        model: A Keras model of any kind, with any number of inputs and outputs.
        path: The folder to make.
        preprocessing: Turns raw input into the input of a model that has one; None adds nothing.
        activation: "softmax" or "sigmoid", added to the output of a model that has one, which is then called
            "probabilities"; None adds nothing.
        labels: A name for each element along the last axis of a single output.
        task: "classification", "regression" or "segmentation": what the output is, for whoever shows predictions.
        target_names: For a regression what `labels` is for classes: a name for each number.
        table: How the rows of a table become the raw input: the result of `to_dict` of its columns.
        samples: Real raw inputs to compare in addition to random ones: an array, or arrays by name or as the model
            takes them. They build a model that has never seen an input, and give the first sizes to try.
        record: What samples.npz holds for later verification: "all" inputs, the smallest first; only "synthetic" ones,
            if real ones must not leave the machine; or "none". Without a record, `verify` compares the exported forms
            with each other, not with Keras, and a server only tests whether the model runs.
        formats: "saved_model", "onnx" or both. The default is both for "fp32", and ONNX alone for other precisions and
            engines, which a SavedModel does not have.
        targets: Other runtimes to convert to, in "fp32" only: "web" (a folder with a page that runs the network in a
            browser), "openvino", "litert" (made from the SavedModel) and "ort" (onnxruntime's own format). Each is
            compared with Keras as well, except "web" if there is no Chromium here, as parity.json then says.
        opset: The ONNX opset, 13 to 24.
        for_runtime: The oldest onnxruntime that must run the file, from "1.13" to "1.26". Instead of `opset`, the file
            then has the newest opset that this onnxruntime runs, and the IR version that belongs to it.
        engine: The converter: "tf2onnx", or without TensorFlow "jax2onnx" for models on JAX and "torch" for models on
            PyTorch, both from opset 18 on. The default is tf2onnx if TensorFlow is installed. For models on JAX and
            PyTorch, tf2onnx runs in a second process, which rebuilds the model from its config and weights.
        precision: "fp32"; "fp16", for GPUs, which keeps as few of the first layers in float32 as the tolerances need:
            mostly one, and at most half of them and the sums of skip connections. The others are published only if
            they cost little accuracy, and "int8" and "int8_dynamic" only if they are faster under onnxruntime on this
            machine's processor. "int8_dynamic" quantises dense layers without calibration; its answers depend on the
            batch, so servers do not batch requests. "int4" makes only the file smaller, in its dense layers.
        calibration: For "int8": a few hundred raw inputs that the network was trained on, which measure the ranges of
            its activations; `samples` by default.
        test: For "int8", "int8_dynamic" and "int4": raw inputs, and the class of each, enough to measure the allowed
            drop: 200 for 0.5 points.
        max_accuracy_drop: How many percentage points of accuracy these may cost.
        layout: The axis of the channels of images at inputs and outputs: "nhwc", "nchw" or None, as in the model.
        image: How image files become the raw input, which is one of uint8 images. The artifact then takes images of any
            size in `Predictor.classify` and from clients of a server.
        device: "cuda" needs an onnxruntime with CUDA, "cpu" leaves CUDA out, and None uses it if available.
        name: The name of the artifact; the model's name by default.
        gates: Whether to add an output "carry", with the mean carry gate of each example and highway block.
        overwrite: Whether to replace an earlier artifact, which stays as it is if the export fails.
        batch_sizes: The sizes of the compared batches.
        atol: The absolute difference that is allowed in addition to roundings. The default is 0, and 1e-5 (5e-3 in
            "fp16") for outputs that end in a softmax or sigmoid. Quantised files are not held to it.
        rtol: The difference that is allowed in addition to roundings, as a share of the range of each channel. The
            default is 2e-5 (2.5e-3 in "fp16"), and 0 for outputs that end in a softmax or sigmoid. In "fp16" a value
            also replaces the four roundings to fp16.
        seed: The seed of the random inputs.

    Returns:
        The artifact.

    Raises:
        FileExistsError: If the path exists.
        DeviceError: If the requested device is not there.
        ExportError: If the model cannot be converted, onnxruntime crashes, or a step takes too much time or memory.
        ParityError: If an exported form computes something else.
        PrecisionError: If a quantised file costs too much accuracy, or is not faster (int4: smaller); the message has
            the figures.
        ValueError: If an argument is invalid.

    Example:
        >>> export(model, "classifier", preprocessing=Preprocessing("uint8", scale=1 / 255), labels=["cat", "dog"])
    """
    engine = choose_engine(engine)
    formats = _resolve_formats(formats, precision, engine)
    opset = choose_opset(opset, for_runtime)
    check_record(record, formats)
    others = check_targets(targets, formats, precision)
    if task not in TASKS:
        raise ValueError(f"Expected task to be one of {TASKS}. Received: task={task!r}")
    check_device(device, optional=True, among=("cpu", "cuda"))
    _check_different(target_names)
    with open_engine(engine, opset) as tool:
        endpoint = make_endpoint(model, preprocessing, activation, layout, samples, tool)
        _check_numbers(endpoint)
        if len(endpoint.outputs) == 1:
            check_task(task, *endpoint.outputs, *endpoint.output_shapes)
        endpoint = add_gates(endpoint) if gates else endpoint
        _check_image(image, endpoint)
        _check_table(table, endpoint)
        calibration = samples if calibration is None else calibration
        data = None
        if precision in QUANTISED:
            calibration = calibration if precision == INT8 else None
            data = check_quantisation_data(endpoint, precision, calibration, test, max_accuracy_drop)
        STEPS.info("computing Keras's answers")
        reference = compute_reference(
            endpoint, model, samples, batch_sizes=batch_sizes, seed=seed, atol=atol, rtol=rtol
        )
        answers = next(iter(reference.expected.values()))
        names, numbers = (_check_labels(given, endpoint, answers) for given in (labels, target_names))
        # A quantised file is proven in fp32 first, and then judged by its accuracy and its time or size.
        proven = FP32 if precision in QUANTISED else precision
        with publish(path, overwrite, is_artifact) as folder:
            _write_forms(endpoint, folder, formats, opset, names, tool)
            parity, rewriting = _prove_forms(reference, folder, formats, opset, proven, device, tool)
            allowed, batchable = reference.allowed(proven), reference.is_batchable()
            if data:
                STEPS.info("quantising to %s, and measuring what it costs", precision)
                rewriting = rewrite_quantised(folder / ONNX, precision, *data, max_accuracy_drop, batchable=batchable)
                batchable = precision != INT8_DYNAMIC
                parity, allowed = measure_difference(reference, folder / ONNX, device) | {"weak": parity["weak"]}, {}
            parity |= {"precision": {"name": precision, **rewriting}, "seed": seed}
            parity |= record_samples(folder / SAMPLES, reference, allowed, record)
            if reference.change is not None:
                parity["float32_against_trained_precision"] = reference.change
            write_json(folder / PARITY, parity)
            about: dict[str, Any] = {"name": name or model.name, "batchable": batchable, "labels": names}
            about |= {"task": task, "target_names": numbers, "table": None if table is None else dict(table)}
            about["image"] = image.to_dict() if image else None
            manifest = write_manifest(folder, about | describe(endpoint, folder, answers, precision, tool))
            if others:
                manifest, parity = add_targets(folder, manifest, parity, others, reference)
    return Artifact(Path(path), manifest, parity)


def _resolve_formats(formats: Sequence[str] | None, precision: Precision, engine: EngineName) -> tuple[str, ...]:
    if precision not in PRECISIONS:
        raise ValueError(f"Expected precision to be one of {PRECISIONS}. Received: precision={precision!r}")
    if formats is None:
        formats = tuple(FORMATS) if precision == FP32 and engine == "tf2onnx" else ("onnx",)
    formats = (formats,) if isinstance(formats, str) else tuple(formats)
    if not formats or not set(formats) <= set(FORMATS):
        raise ValueError(f"Expected formats to be some of {tuple(FORMATS)}. Received: formats={formats!r}")
    if precision != FP32 and formats != ("onnx",):
        raise ValueError(f'Expected formats="onnx" for precision={precision!r}. Received: formats={formats!r}')
    if engine != "tf2onnx" and formats != ("onnx",):
        raise ValueError(f'Expected formats="onnx" for engine={engine!r}. Received: formats={formats!r}')
    return formats


def _check_numbers(endpoint: Endpoint) -> None:
    texts = [raw.name for raw in endpoint.inputs if raw.dtype == TEXT]
    if texts:
        raise ExportError(
            "Expected numeric inputs, since the predictor and the server take nothing else; to_onnx also takes text. "
            f"Received: text for {', '.join(texts)}"
        )


def _check_image(image: ImageReader | None, endpoint: Endpoint) -> None:
    inputs = [{"shape": raw.shape, "dtype": raw.dtype} for raw in endpoint.inputs]
    if image is not None and (wanted := find_other_input(image, inputs, endpoint.layout)):
        received = ", ".join(f"{raw.dtype} of shape {raw.shape}" for raw in endpoint.inputs)
        raise ValueError(f"Expected a network with {wanted} for {image!r}. Received: {received}")


def _check_table(table: Mapping[str, Any] | None, endpoint: Endpoint) -> None:
    """Raises a ValueError unless rows of a table fit the only input. With several inputs a network takes no rows."""
    if table is None:
        return
    count = len(Columns.from_dict(table).inputs)
    taken, *others = endpoint.inputs
    if not others and not takes_rows([{"shape": taken.shape, "dtype": taken.dtype}], count):
        raise ValueError(
            f"Expected an input of float32 and shape (None, {count}), for a table of {count} columns. "
            f"Received: {taken.dtype} of shape {taken.shape}"
        )


def _write_forms(
    endpoint: Endpoint, folder: Path, formats: Sequence[str], opset: int, labels: Sequence[str] | None, engine: Engine
) -> None:
    folder.mkdir()
    if "saved_model" in formats:
        STEPS.info("writing the SavedModel")
        engine.write_saved_model(endpoint, folder / SAVED_MODEL)
    if "onnx" in formats:
        STEPS.info("converting to ONNX")
        write_onnx(endpoint, folder / ONNX, opset, labels, engine.convert)


def _prove_forms(
    reference: Reference,
    folder: Path,
    formats: Sequence[str],
    opset: int,
    precision: Precision,
    device: Device | None,
    engine: Engine,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compares the forms in a folder with Keras, and rewrites the ONNX file in fp16 for that precision.

    Returns:
        The proof, and the record of the rewriting.
    """
    record: dict[str, Any] = {}
    STEPS.info("comparing with Keras")
    if precision == FP16:

        def judge(file: Path, simulated: Path, last: bool) -> dict[str, Any]:
            STEPS.info("comparing fp16 with Keras")
            return prove(reference, onnx=file, simulated=simulated, precision=precision, device=device, locate=last)

        record, parity = rewrite_in_fp16(folder / ONNX, judge)
    else:
        run = engine.load_saved_model(folder / SAVED_MODEL) if "saved_model" in formats else None
        onnx = folder / ONNX if "onnx" in formats else None
        parity = prove(reference, saved_model=run, onnx=onnx, precision=precision, device=device)
    if "onnx" in formats:

        def write(scaled: Endpoint, file: Path) -> None:
            write_onnx(scaled, file, opset, convert=engine.convert)

        parity = strengthen_proof(reference, parity, write, folder)
    return parity, record


def _check_labels(labels: Sequence[str] | None, endpoint: Endpoint, expected: Batch) -> list[str] | None:
    if labels is None:
        return None
    if len(endpoint.model_outputs) != 1:
        outputs = ", ".join(endpoint.model_outputs)
        raise ValueError(f"Expected a network with one output for labels. Received: the outputs {outputs}")
    classes = expected[endpoint.model_outputs[0]].shape[-1]
    if len(labels) != classes:
        raise ValueError(f"Expected a label for each of {classes} outputs. Received: {len(labels)} labels")
    return [str(label) for label in labels]


def _check_different(target_names: Sequence[str] | None) -> None:
    if target_names is not None and len(set(target_names)) < len(target_names):
        raise ValueError(f"Expected target_names that differ. Received: target_names={list(target_names)}")
