"""Measures layers under onnxruntime with their operations whole and in parts: time, and distance from the exact value.

    python -m benchmarks.export.whole_operations [--only LAYER ...] [--rounds 60]

The forms of a layer run alternately in one process on the CPU provider, each on one thread, and the time is that of
the processor, so that other load on the machine changes little:

    in parts   the converter's own form at opset 17, without our operations and our products of matrices
    opset 17   our form at the default opset
    opset 24   our form at the last opset
    one node   the operation on its own, whether we use it or not

"error" is the largest difference from the equation in float64, on inputs around 0 and around 100. An operation stays
whole in our forms only if neither the larger error nor the time exceeds that of its parts.
"""

import argparse
import math
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np

from ..harness import alternate, format_spread, parse_options, ratio, spread, write_result

PARTS, DEFAULT, LAST, NODE = "in parts", "opset 17", "opset 24", "one node"
MEANS = (0, 100)


def centre(x, axes):
    x = x.astype("float64")
    return x - x.mean(axes, keepdims=True)


def layer_norm(x, epsilon=1e-3):
    y = centre(x, -1)
    return y / np.sqrt((y**2).mean(-1, keepdims=True) + epsilon)


def group_norm(x, groups=32, epsilon=1e-3):
    y = centre(x.reshape(len(x), groups, -1), -1)
    return (y / np.sqrt((y**2).mean(-1, keepdims=True) + epsilon)).reshape(x.shape)


def rms_norm(x, epsilon=1e-6):
    x = x.astype("float64")
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon)


def gelu(x):
    x = x.astype("float64")
    return x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def gelu_tanh(x):
    x = x.astype("float64")
    return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def attention(x, heads=6):
    parts = x.astype("float64").reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)
    scores = parts @ parts.transpose(0, 1, 3, 2) / math.sqrt(parts.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return (weights @ parts).transpose(0, 2, 1, 3).reshape(x.shape)


def make_cases():
    """Returns the shape of an example, the layer, its equation, and its operation with inputs and attributes."""
    from keras import layers, ops

    def attend(x):
        parts = ops.reshape(x, (-1, x.shape[1], 6, x.shape[2] // 6))
        return ops.reshape(ops.dot_product_attention(parts, parts, parts), (-1, *x.shape[1:]))

    norm = {"axis": -1, "epsilon": 1e-3}
    return {
        "LayerNormalization": ((197, 384), layers.LayerNormalization(), layer_norm, "LayerNormalization", norm),
        "RMSNormalization": ((197, 384), layers.RMSNormalization(), rms_norm, "RMSNormalization", {"epsilon": 1e-6}),
        "GroupNormalization": (
            *((64, 56, 56), layers.GroupNormalization(32, axis=1), group_norm, "GroupNormalization"),
            {"num_groups": 32, "epsilon": 1e-3},
        ),
        "gelu": ((197, 1536), layers.Activation("gelu"), gelu, "Gelu", {}),
        "gelu, approximate": ((197, 1536), lambda x: ops.gelu(x, True), gelu_tanh, "Gelu", {"approximate": "tanh"}),
        "dot_product_attention": ((197, 384), attend, attention, "Attention", {"q_num_heads": 6, "kv_num_heads": 6}),
    }  # fmt: skip


@contextmanager
def only_converter():
    """Leaves whole operations and products of matrices to the converter."""
    from export.convert import operations

    left = {name: rewrite for name, rewrite in operations.REWRITES.items() if name != "Einsum"}
    with mock.patch.object(operations, "WHOLE", {}), mock.patch.object(operations, "REWRITES", left):
        yield


def write_node(path, shape, operation, attributes):
    from onnx import TensorProto, helper, numpy_helper, save

    size = {"LayerNormalization": shape[-1:], "RMSNormalization": shape[-1:], "GroupNormalization": shape[:1]}
    ones = np.ones(size.get(operation, ()), "float32")
    extra = {"RMSNormalization": ["scale"], "Gelu": [], "Attention": ["x", "x"]}.get(operation, ["scale", "bias"])
    constants = {"scale": ones, "bias": 0 * ones}
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape]) for name in "xy"]
    node = helper.make_node(operation, ["x", *extra], ["y"], **attributes)
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items() if name in extra]
    graph = helper.make_graph([node], operation, ends[:1], ends[1:], weights)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=12), path)


def write_forms(folder, shape, layer, operation, attributes):
    """Writes the forms of a layer, and returns their files by name."""
    import keras
    import onnx

    from export.convert.conversion import convert_endpoint
    from export.model.wrapping import make_endpoint

    inputs = keras.Input(shape, name="x")
    outputs = layer(inputs)
    endpoint = make_endpoint(keras.Model(inputs, outputs))
    with only_converter():
        models = {PARTS: convert_endpoint(endpoint, 17)}
    models |= {DEFAULT: convert_endpoint(endpoint, 17), LAST: convert_endpoint(endpoint, 24)}
    files = {name: folder / f"{name}.onnx" for name in (*models, NODE)}
    for name, model in models.items():
        onnx.save(model, files[name])
    write_node(files[NODE], shape, operation, attributes)
    return files


def processor_seconds(session, x, runs=5):
    start = time.process_time()
    for _ in range(runs):
        session.run(None, {"x": x})
    return (time.process_time() - start) / runs


def measure(shape, layer, equation, operation, attributes, rounds):
    """Returns the figures of a layer by form, and the ratios of times to those in parts by batch."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        files = write_forms(Path(folder), shape, layer, operation, attributes)
        counts = {name: len(onnx.load(file).graph.node) for name, file in files.items()}
        sessions = {
            name: onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
            for name, file in files.items()
        }
    draw = np.random.default_rng(0).normal
    figures = {name: {"nodes": count, "error": {}, "ratio": {}} for name, count in counts.items()}
    for mean in MEANS:
        x = draw(mean, 1, (2, *shape)).astype("float32")
        exact = equation(x)
        for name, session in sessions.items():
            figures[name]["error"][mean] = float(np.abs(session.run(None, {"x": x})[0] - exact).max())
    for batch in (1, 8):
        x = draw(size=(batch, *shape)).astype("float32")
        timers = {name: partial(processor_seconds, session, x) for name, session in sessions.items()}
        times = alternate(timers, rounds)
        for name in files:
            figures[name][f"milliseconds, batch {batch}"] = spread([1e3 * each for each in times[name]])
            figures[name]["ratio"][batch] = ratio(times, name, PARTS)
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="LAYER", help="shorter: only these layers")
    parser.add_argument("--rounds", type=int, default=60)
    options = parse_options(parser)
    cases = make_cases()
    found = {}
    for name in options.only or cases:
        found[name] = measure(*cases[name], options.rounds)
        for form, figures in found[name].items():
            errors = ", ".join(f"{value:.1e}" for value in figures["error"].values())
            times = ", ".join(f"batch {batch} {format_spread(value)}" for batch, value in figures["ratio"].items())
            print(f"{name}, {form}: {figures['nodes']} nodes, error {errors}, time / {PARTS}: {times}", flush=True)
    if options.json:
        write_result(options.json, {"rounds": options.rounds}, found)


if __name__ == "__main__":
    main()
