"""Compares converting a network to ONNX with plain `tf2onnx.convert.from_keras`, in one run.

    python -m benchmarks.export.speed [NETWORK ...] [--rounds 5] [--profile]

Both convert the same new network (default: resnet50) to opset 17, alternately in one process for each network, after
each has converted a small one. Both do the "conversion"; "to_onnx" also runs onnx's checker, writes the file, and runs
it under onnxruntime in a separate process, which from_keras does not. The figures are ratios within a round, by the
clock and by the processor time of this process, which other load on the machine changes less. --profile shows where
the conversion spends its time.
"""

import argparse
import cProfile
import logging
import pstats
import statistics
import subprocess
import sys
import tempfile
import time

OPSET = 17
PLAIN, OURS, WHOLE = "from_keras", "conversion", "to_onnx"


def make_conversions(name):
    import tensorflow as tf
    from tf2onnx import convert

    import export
    import zoo
    from export.convert.conversion import convert_endpoint
    from export.model.wrapping import make_endpoint

    model = zoo.build(name)
    signature = (tf.TensorSpec((None, *model.input_shape[1:]), "float32", name="x"),)

    def whole():
        with tempfile.TemporaryDirectory() as folder:
            export.to_onnx(model, f"{folder}/model.onnx", opset=OPSET)

    return {
        PLAIN: lambda: convert.from_keras(model, input_signature=signature, opset=OPSET),
        OURS: lambda: convert_endpoint(make_endpoint(model), OPSET),
        WHOLE: whole,
    }


def measure(name, rounds):
    for convert in make_conversions("resnet20").values():
        convert()
    ways, found = make_conversions(name), []
    for number in range(rounds):
        # Each round starts with another.
        names = list(ways)[number % len(ways) :] + list(ways)[: number % len(ways)]
        times = {}
        for way in names:
            clock, processor = time.perf_counter(), time.process_time()
            ways[way]()
            times[way] = time.perf_counter() - clock, time.process_time() - processor
        found.append(times)
        line = ", ".join(f"{way} {times[way][0]:.2f} s ({times[way][1]:.2f} s)" for way in ways)
        print(f"round {number + 1}/{rounds}: {line}", flush=True)
    for way in (OURS, WHOLE):
        for kind, index in (("clock", 0), ("processor", 1)):
            ratios = [times[PLAIN][index] / times[way][index] for times in found]
            figures = f"minimum {min(ratios):.2f}, median {statistics.median(ratios):.2f}, maximum {max(ratios):.2f}"
            print(f"{name}: {PLAIN} / {way} by the {kind}: {figures}", flush=True)


def profile(name):
    convert = make_conversions(name)[OURS]
    convert()
    with cProfile.Profile() as profiler:
        convert()
    pstats.Stats(profiler).sort_stats("cumulative").print_stats(40)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=["resnet50"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    for name in options.networks:
        if options.profile:
            profile(name)
        elif options.here:
            measure(name, options.rounds)
        else:
            command = [sys.executable, "-m", __spec__.name, name, "--rounds", str(options.rounds), "--here"]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
