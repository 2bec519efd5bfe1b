"""Measures precisions and fusions on a vision transformer of Keras's layers, in one run.

    python -m benchmarks.export.transformers [--rounds 8]

The network is new: ViT-Tiny, 224 x 224, 12 layers of width 192. int8 is calibrated on random images, which suffice to
measure its time. "fused" is the result of onnxruntime's optimiser for transformers. Sessions have one thread and run
alternately. Seconds are processor time, on which other load has less influence. The difference is that of the logits
from those of fp32, as a share of their range.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIZE, PATCH, WIDTH, HEADS, DEPTH, BATCHES = 224, 16, 192, 3, 12, (1, 8)


def build_transformer():
    import keras
    from keras import layers

    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.Reshape(((SIZE // PATCH) ** 2, WIDTH))(layers.Conv2D(WIDTH, PATCH, PATCH)(inputs))
    for _ in range(DEPTH):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = x + layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(y, y)
        y = layers.Dense(4 * WIDTH, activation="gelu")(layers.LayerNormalization(epsilon=1e-6)(x))
        x = x + layers.Dense(WIDTH)(y)
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization(epsilon=1e-6)(x))
    return keras.Model(inputs, layers.Dense(1000)(x))


def write_files(folder, images):
    import onnx
    from onnxruntime.transformers import optimizer

    from export.convert.conversion import convert_endpoint
    from export.model.wrapping import make_endpoint
    from export.precision.int8 import quantise_to_int8
    from export.precision.quantisation import choose_settings
    from export.precision.weights import quantise_dynamically, quantise_to_int4

    files = {name: folder / f"{name}.onnx" for name in ("fp32", "int8", "int8_dynamic", "int4", "fused")}
    onnx.save(convert_endpoint(make_endpoint(build_transformer()), 17), files["fp32"])
    (given,) = onnx.load(files["fp32"]).graph.input
    chosen = choose_settings()
    quantise_to_int8(files["fp32"], files["int8"], [{given.name: images}], chosen.activations, chosen.reduce_range)
    quantise_dynamically(files["fp32"], files["int8_dynamic"], chosen.reduce_range)
    quantise_to_int4(files["fp32"], files["int4"])
    tool = optimizer.optimize_model(str(files["fp32"]), "vit", num_heads=HEADS, hidden_size=WIDTH, opt_level=0)
    tool.save_model_to_file(str(files["fused"]))
    return files, given.name


def measure(rounds):
    import onnxruntime

    images = np.random.default_rng(0).normal(size=(max(BATCHES), SIZE, SIZE, 3)).astype("float32")
    with tempfile.TemporaryDirectory() as folder:
        files, given = write_files(Path(folder), images)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        open_file = onnxruntime.InferenceSession
        sessions = {name: open_file(file, options, providers=["CPUExecutionProvider"]) for name, file in files.items()}
        sizes = {name: file.stat().st_size for name, file in files.items()}
    answers = {name: session.run(None, {given: images})[0] for name, session in sessions.items()}
    for name, answer in answers.items():
        difference = np.max(np.abs(answer - answers["fp32"])) / np.ptp(answers["fp32"])
        share = sizes[name] / sizes["fp32"]
        print(f"{name}: {sizes[name] / 1e6:.1f} MB, {share:.0%} of fp32; difference {difference:.4f}", flush=True)
    for batch in BATCHES:
        times = {name: [] for name in sessions}
        for _ in range(rounds):
            for name, session in sessions.items():
                began = time.process_time()
                session.run(None, {given: images[:batch]})
                times[name].append(time.process_time() - began)
        for name, taken in times.items():
            ratio = statistics.median(a / b for a, b in zip(times["fp32"], taken, strict=True))
            print(
                f"batch {batch}: {name}: {statistics.median(taken) * 1e3:.1f} ms; fp32 / {name} {ratio:.2f}", flush=True
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8)
    measure(parser.parse_args().rounds)


if __name__ == "__main__":
    sys.exit(main())
