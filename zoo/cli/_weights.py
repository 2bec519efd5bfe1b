"""What the command `export` takes from weights that are exported by name or from a file, without a run."""

from pathlib import Path


def check_weights(network: str, weights: str, formats: list[str] | None, precision: str) -> None:
    """Refuses weights that do not exist, a precision that needs a run, and formats that have no such precision."""
    from ..tasks import task_of
    from ..training.runs import open_run
    from ..weights.loading import check_loadable

    if precision.startswith("int"):
        raise ValueError(
            f"Expected the folder of a run for --precision {precision}, which is tested on its images. "
            f"Received: {network} --weights {weights}; export.export(precision={precision!r}) takes images of your own"
        )
    if precision != "fp32" and formats not in (None, ["onnx"]):
        raise ValueError(f"Expected --format onnx for --precision {precision}. Received: --format {','.join(formats)}")
    check_loadable(network, weights)
    if (Path(weights) / "run.json").is_file() and (task := task_of(open_run(weights).source).name) != "classification":
        raise ValueError(
            f"Expected weights that tell classes apart, for --weights. Received: {weights}, a run of {task}; export it "
            f"as `keras-skip export {weights}`"
        )


def default_folder(network: str, weights: str, ending: str) -> Path:
    """The folder of the artifact: NETWORK-WEIGHTS-export, here."""
    return Path(f"{network}-{Path(weights).name.partition('.')[0]}-{ending}")
