"""Publishes the weights of a run: the file, and a card whose figures are all measured here."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._files import replace_file
from ..data import Preprocessing, Source
from ..data.named import LICENCES
from ..networks.catalogue import MODELS
from ..tasks import task_of
from ..training.command import command
from ..training.evaluation import EVALUATION_BATCH, measure, measure_views, resolve_data
from ..training.learner import precision
from ..training.runs import Run, open_complete_run
from ..training.tta import seen_views
from .cards import FIRST, Card, choose_paths
from .loading import load

if TYPE_CHECKING:
    import keras

LARGEST = 20e6
# Accuracies that differ by less are the same, to 0.01 points.
SAME = 1e-4


class PublishingError(RuntimeError):
    """Weights do not reach the figures that their card would state."""


def publish(
    run: Run | str | Path,
    weights: str,
    out: str | Path,
    data: str | Source | None = None,
    *,
    limits: str = "",
    chosen_by: str = "the only run",
    artifact: str | Path | None = None,
    overwrite: bool = False,
) -> Card:
    """Writes the weights of a run and a card with their accuracy, measured again under Keras and onnxruntime.

    The card gives the figures of the network in float32, even if the run was trained in mixed precision.

    Args:
        run: A complete run, or its folder.
        weights: The name for `zoo.load`, usually that of the data, such as "cifar10".
        out: The folder for NETWORK-WEIGHTS.weights.h5 and NETWORK-WEIGHTS.json.
        data: As in `evaluate`. Default: the run's.
        limits: What a reader should know before comparing the figures with others.
        chosen_by: How this run was chosen among others.
        artifact: The exported network, which takes raw pixels. Default: RUN/export, where `keras-skip export` puts it.
        overwrite: Whether to replace existing weights.

    Returns:
        The `Card`.

    Raises:
        ValueError: If the run is not complete, not exported or not a classification, or if the name is not an
            identifier.
        FileExistsError: If these weights exist.
        PublishingError: If the network does not reach the accuracy in the run's record, if the accuracy under
            onnxruntime differs from Keras's by more than 0.01 points, or if the file is larger than 20 MB.

    Example:

    >>> import zoo
    >>> zoo.publish("runs/highway", "digits", "weights")  # doctest: +SKIP
    """
    opened, folder = open_complete_run(run), Path(out)
    if (task := task_of(opened.source).name) != "classification":
        raise ValueError(
            f"Expected the run of a classification, since cards give accuracies. Received: {opened.path}, a {task}"
        )
    file, card_file = choose_paths(folder, opened.recipe.network, weights, overwrite)
    exported = _find_export(opened, artifact)
    source, preprocessing = resolve_data(opened, data)
    model, figures = _measure(opened, source, preprocessing, exported)
    figures |= {"limits": limits, "chosen_by": chosen_by}
    folder.mkdir(parents=True, exist_ok=True)
    # Existing weights and their card stay until the new ones are complete.
    with replace_file(file) as beside:
        # Keras takes the format from the whole suffix, which `replace_file` keeps.
        model.save_weights(beside)
        if beside.stat().st_size > LARGEST:
            raise PublishingError(
                f"Expected weights of at most {LARGEST / 1e6:.0f} MB. Received: {beside.stat().st_size / 1e6:.1f} MB"
            )
        card = _card(opened, source, weights, file.name, hashlib.sha256(beside.read_bytes()).hexdigest(), figures)
        with replace_file(card_file) as card_beside:
            card_beside.write_text(card.text(), encoding="utf-8")
    return card


def _find_export(run: Run, artifact: str | Path | None) -> Path:
    exported = run.path / "export" if artifact is None else Path(artifact)
    if not (exported / "model.onnx").is_file():
        raise ValueError(
            f"The run is not exported: there is no model.onnx in {str(exported)!r}. "
            f"Export it with: keras-skip export {run.path}"
        )
    return exported


def _measure(
    run: Run, source: Source, preprocessing: Preprocessing, exported: Path
) -> "tuple[keras.Model, dict[str, Any]]":
    """Loads the network in float32 and measures it under Keras and onnxruntime.

    Raises:
        PublishingError: If the accuracy is not the one in the run's record, or onnxruntime's differs.
    """
    recipe, recorded = run.recipe, run.results["test_accuracy"]
    model = load(run.path)
    test = measure(model, source, preprocessing)
    if abs(test["accuracy"] - recorded) > SAME:
        raise PublishingError(
            f"Expected the run's test accuracy, {recorded:.4%}, to within 0.01 points. "
            f"Received: {test['accuracy']:.4%} on {source.name}"
        )
    if recipe.precision != "float32":
        # The card is about float32, in which the export and every network loaded by name compute.
        with precision("float32"):
            model = load(recipe.network, run.path, **recipe.arguments)
        test = measure(model, source, preprocessing)
    onnx = _measure_onnx(exported, source)
    if abs(onnx["accuracy"] - test["accuracy"]) > SAME:
        raise PublishingError(
            f"Expected the same test accuracy under onnxruntime, {test['accuracy']:.4%}, to within 0.01 points. "
            f"Received: {onnx['accuracy']:.4%}"
        )
    return model, {
        "test_accuracy": test["accuracy"],
        "test_loss": test["loss"],
        "train_accuracy": measure(model, source, preprocessing, "train")["accuracy"],
        "first_accuracy": measure(model, source, preprocessing, limit=FIRST)["accuracy"],
        "onnx_accuracy": onnx["accuracy"],
        "onnx_max_abs_diff": onnx["max_abs_diff"],
        **_measure_views(model, source, preprocessing, seen_views(recipe.augment)),
    }


def _measure_views(model: "keras.Model", source: Source, preprocessing: Preprocessing, views: str) -> dict[str, Any]:
    """Measures the average over the views that the network saw in training, if it saw any."""
    if not views:
        return {}
    return {"tta_accuracy": measure_views(model, source, preprocessing, views)["accuracy"], "tta_views": views}


def _card(run: Run, source: Source, weights: str, file: str, sha256: str, figures: Mapping[str, Any]) -> Card:
    """Makes the card of a run's weights from its record and the measured figures."""
    recipe, record = run.recipe, run.record
    return Card(
        network=recipe.network,
        weights=weights,
        file=file,
        sha256=sha256,
        arguments=dict(recipe.arguments),
        input_shape=source.input_shape,
        class_names=tuple(run.source["class_names"]),
        parameters=run.results["parameters"],
        preprocessing=Preprocessing.from_dict(run.source["preprocessing"]).as_dict(),
        image=run.source.get("image"),
        data={
            "name": weights,
            "examples": run.source["examples"],
            "fingerprint": run.source["fingerprint"],
            "licence": LICENCES.get(weights, "that of the data"),
        },
        paper_error=MODELS[recipe.network].paper_error,
        command=command(record, full_paths=False),
        recipe=recipe.changed(source=weights, command="", cost="", result="").as_dict(),
        seed=recipe.seed,
        seconds=run.results["seconds"],
        revision=record["revision"],
        versions=record["versions"],
        machine={**record.get("devices", {}), "cores": record["environment"]["cores"]},
        date=record["started"][:10],
        **figures,
    )


def _measure_onnx(artifact: Path, source: Source) -> Mapping[str, float]:
    """Measures an artifact on the test images, and reads the largest difference from Keras that its export found."""
    import onnxruntime

    session = onnxruntime.InferenceSession(artifact / "model.onnx", providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    right = 0
    for start in range(0, len(source.test_inputs), EVALUATION_BATCH):
        span = slice(start, start + EVALUATION_BATCH)
        (answers,) = session.run(None, {given.name: np.asarray(source.test_inputs[span])})
        right += int((answers.argmax(axis=-1) == source.test_targets[span]).sum())
    parity = json.loads((artifact / "parity.json").read_text(encoding="utf-8"))
    return {"accuracy": right / len(source.test_inputs), "max_abs_diff": parity["max_abs_diff"]}
