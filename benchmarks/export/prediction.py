"""Measures `export.predict_files` against a bare loop over onnxruntime, and its memory for many inputs.

    python -m benchmarks.export.prediction [--inputs 100000] [--each 1000] [--rounds 5]

The network is resnet20 with the weights "cifar10", exported. The ratios are images per second of `predict_files` to
those of the loop, on the same images, in turns in one process and without the time to open the session. The loop has
the array in memory; of the PNG files both include the decoding, which the loop does with Pillow in one thread.
`predict_files` also names and writes a row for each. Memory is the highest resident memory of a process of its own that
predicts for an array of a tenth of the inputs, and of all.
"""

import argparse
import tempfile
import time
from pathlib import Path

from ..harness import alternate, format_spread, parse_options, ratio, resident_memory, run_in_own_process, write_result

BATCH = 32
SHAPE = (32, 32, 3)


def write_artifact(path):
    import export
    import zoo

    card = zoo.card("resnet20", "cifar10")
    export.export(
        zoo.load("resnet20", weights="cifar10"),
        path,
        preprocessing=export.Preprocessing("uint8", **card.preprocessing),
        activation="softmax",
        labels=card.class_names,
        formats="onnx",
        device="cpu",
    )


def write_images(path, count):
    """Writes random images a few at a time."""
    import numpy as np

    rng = np.random.default_rng(0)
    array = np.lib.format.open_memmap(path, "w+", "uint8", (count, *SHAPE))
    for start in range(0, count, 1000):
        part = array[start : start + 1000]
        part[:] = rng.integers(0, 256, part.shape, dtype="uint8")
    array.flush()


def measure_memory(artifact, images, out):
    import export

    start = time.perf_counter()
    rows = export.predict_files(artifact, images, out, batch_size=BATCH).rows
    return {"rows": rows, "seconds": time.perf_counter() - start, "MiB": resident_memory("VmHWM")}


def race(artifact, folder, each, rounds):
    """Times both, on an array and on files, in turns."""
    import numpy as np
    import onnxruntime
    from PIL import Image

    import export
    from export.prediction.network import ArtifactNetwork

    write_images(folder / "race.npy", each)
    images = np.load(folder / "race.npy")
    (folder / "png").mkdir()
    for number, pixels in enumerate(images):
        Image.fromarray(pixels).save(folder / "png" / f"{number:06}.png")
    network = ArtifactNetwork(artifact)
    session = onnxruntime.InferenceSession(artifact / "model.onnx", providers=["CPUExecutionProvider"])

    def time_it(call):
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    def predict(what):
        return lambda: time_it(
            lambda: export.predict_files(network, folder / what, folder / "race.csv", batch_size=BATCH, overwrite=True)
        )

    def loop(read):
        def run():
            for start in range(0, each, BATCH):
                session.run(None, {network.input_name: read(start, min(start + BATCH, each))})

        return lambda: time_it(run)

    files = sorted((folder / "png").iterdir())
    timers = {
        "predict_files, array": predict("race.npy"),
        "loop, array": loop(lambda start, end: images[start:end]),
        "predict_files, PNG": predict("png"),
        "loop, PNG": loop(lambda start, end: np.stack([np.asarray(Image.open(file)) for file in files[start:end]])),
    }
    return alternate(timers, rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--each", type=int, default=1000, help="images in each turn")
    parser.add_argument("--rounds", type=int, default=5)
    options = parse_options(parser, measure_memory)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_artifact(folder / "artifact")
        times = race(folder / "artifact", folder, options.each, options.rounds)
        ratios = {what: ratio(times, f"loop, {what}", f"predict_files, {what}") for what in ("array", "PNG")}
        for what, found in ratios.items():
            print(f"{what}: predict_files / loop, images per second: {format_spread(found)}", flush=True)
        memory = []
        for count in (options.inputs // 10, options.inputs):
            write_images(folder / "all.npy", count)
            out = folder / f"{count}.csv"
            found = run_in_own_process(__spec__.name, *map(str, (folder / "artifact", folder / "all.npy", out)))
            memory.append(found)
            print(f"{found['rows']:,} inputs: {found['MiB']:.1f} MiB at most, {found['seconds']:.0f} s", flush=True)
    if options.json:
        write_result(options.json, vars(options), {"times": times, "ratios": ratios, "memory": memory})


if __name__ == "__main__":
    main()
