"""Measures exporting a network, against Keras's own export of the same network in plain layers.

    python -m benchmarks.export.exports [--only NETWORK] [--rounds 3]

Each export runs in a new process, in turns; building the network and importing do not count. Keras writes only an ONNX
file or a SavedModel. `export.export` writes both, checks the ONNX file, runs it, and compares the answers of Keras, the
SavedModel and onnxruntime.
"""

import argparse
import tempfile
import time
from pathlib import Path

from ..harness import (
    alternate,
    format_spread,
    parse_options,
    random_batch,
    ratio,
    resident_memory,
    run_in_own_process,
    spread,
    write_result,
)

OURS_ONNX, KERAS_ONNX = "export.to_onnx", "Keras, format='onnx'"
OURS_SAVED, KERAS_SAVED = "export.to_saved_model", "Keras, format='tf_saved_model'"
WHOLE = "export.export"
PAIRS = ((OURS_ONNX, KERAS_ONNX), (OURS_SAVED, KERAS_SAVED), (WHOLE, KERAS_ONNX))
WAYS = (OURS_ONNX, KERAS_ONNX, OURS_SAVED, KERAS_SAVED, WHOLE)
NETWORKS = ("resnet20", "resnet50")


def case(name, way):
    """Returns the seconds of an export, and the MiB that it adds to the resident memory."""
    import export
    import zoo

    from ..layers import plain

    make_plain = {"resnet20": lambda: plain.resnet(20), "resnet50": plain.resnet50}[name]
    model = make_plain() if way in (KERAS_ONNX, KERAS_SAVED) else zoo.build(name)
    model(random_batch(model.input_shape[1:], 1)[0])  # Keras exports no network that was never called
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        action = {
            OURS_ONNX: lambda: export.to_onnx(model, path / "model.onnx"),
            KERAS_ONNX: lambda: model.export(path / "model.onnx", format="onnx", verbose=False),
            OURS_SAVED: lambda: export.to_saved_model(model, path / "saved"),
            KERAS_SAVED: lambda: model.export(path / "saved", format="tf_saved_model", verbose=False),
            WHOLE: lambda: export.export(model, path / "artifact"),
        }[way]
        before, start = resident_memory(), time.perf_counter()
        action()
        return time.perf_counter() - start, resident_memory("VmHWM") - before


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=NETWORKS, nargs="+", default=["resnet20"])
    parser.add_argument("--rounds", type=int, default=3)
    options = parse_options(parser, case)
    figures = {}
    for name in options.only:
        memory = {way: [] for way in WAYS}

        def measure(way, name=name, memory=memory):
            seconds, taken = run_in_own_process(__spec__.name, name, way)
            memory[way].append(taken)
            print(f"{name}, {way}: {seconds:.1f} s, {taken:.0f} MiB", flush=True)
            return seconds

        times = alternate({way: lambda way=way: measure(way) for way in WAYS}, options.rounds)
        figures[name] = {
            "ways": {way: {"seconds": spread(times[way]), "MiB": spread(memory[way])} for way in WAYS},
            "ratios": [[ours, theirs, ratio(times, ours, theirs)] for ours, theirs in PAIRS],
        }
        for ours, theirs, value in figures[name]["ratios"]:
            print(f"{name}, {ours} / {theirs}: {format_spread(value)}", flush=True)
    if options.json:
        write_result(options.json, {"rounds": options.rounds}, figures)


if __name__ == "__main__":
    main()
