"""Exports a published network with keras-skip and with Keras's exporter, and compares both files with Keras alike."""

import re
import time
import traceback
from pathlib import Path

import numpy as np

from ..published import VOCABULARY

EXPORTERS = ("keras-skip", "keras")
BATCHES = (1, 2)
# The number of examples, and the length of a dimension without a fixed size, where inputs cannot be found.
EXAMPLES, LENGTH = 2, 32


def draw(model):
    """Draws realistic inputs: tokens of the vocabulary, and masks whose ends are padding."""
    rng, drawn = np.random.default_rng(0), {}
    for x in model.inputs:
        shape = (EXAMPLES, *(LENGTH if n is None else n for n in x.shape[1:]))
        if "mask" in x.name and "positions" not in x.name:
            drawn[x.name] = np.tile(np.arange(shape[-1]) < 0.75 * shape[-1], (*shape[:-1], 1)).astype(x.dtype)
        elif "int" in x.dtype:
            below = {"segment_ids": 2, "mask_positions": LENGTH, "index": 2}.get(x.name, VOCABULARY)
            drawn[x.name] = rng.integers(0, below, shape).astype(x.dtype)
        else:
            drawn[x.name] = rng.normal(size=shape).astype(x.dtype)
    return drawn if len(drawn) > 1 else next(iter(drawn.values()))


def compute_answers(model):
    """Returns the endpoint, Keras's answers, and whether the model needed samples, which are drawn then."""
    from export.model.wrapping import make_endpoint
    from export.proof.reference import compute_reference

    try:
        endpoint = make_endpoint(model)
        return endpoint, compute_reference(endpoint, model, None, batch_sizes=BATCHES), False
    except ValueError as error:
        if "Expected samples=" not in str(error):
            raise
    endpoint = make_endpoint(model, samples=(drawn := draw(model)))
    return endpoint, compute_reference(endpoint, model, drawn, batch_sizes=BATCHES), True


def write_with_keras_skip(model, endpoint, path):
    from export.convert.onnx_model import write_onnx
    from export.convert.versions import DEFAULT_OPSET

    write_onnx(endpoint, path, DEFAULT_OPSET)


def write_with_keras(model, endpoint, path):
    model.export(path, format="onnx", verbose=False)


def try_to_write(model, folder):
    """Returns whether Keras's exporter writes a file for a model that ours refuses."""
    try:
        write_with_keras(model, None, folder / "keras.onnx")
    except Exception as error:
        return {"result": "not converted", "error": shorten(error)}
    return {"result": "not judged", "error": "It writes a file, and there are no answers to compare with."}


def rename_tensors(path, endpoint):
    """Renames the inputs and outputs of a file that Keras wrote, since the proof finds them by our names."""
    import onnx

    model = onnx.load(path)
    graph = model.graph
    for side, own in ((graph.input, [x.name for x in endpoint.inputs]), (graph.output, list(endpoint.outputs))):
        theirs = [x.name for x in side]
        if len(theirs) != len(own):
            raise ValueError(f"{len(own)} inputs or outputs become {len(theirs)}: {', '.join(theirs)[:100]}")
        if set(theirs) == set(own):
            continue
        for x, name in zip(side, own, strict=True):
            ends = [x.name, name] if side is graph.output else [name, x.name]
            node = onnx.helper.make_node("Identity", ends[:1], ends[1:])
            graph.node.insert(len(graph.node) if side is graph.output else 0, node)
            x.name = name
    onnx.save(model, path)


def judge(exporter, model, endpoint, reference, path):
    """Exports, and returns how far that went: "not converted", "does not run", "differs" or "proven"."""
    import onnx

    from export.convert.operation_counts import count_operations
    from export.errors import ParityError
    from export.proof.prove import prove

    found, start = {"result": "not converted"}, time.perf_counter()
    try:
        (write_with_keras_skip if exporter == EXPORTERS[0] else write_with_keras)(model, endpoint, path)
        found |= {"result": "does not run", "seconds": round(time.perf_counter() - start, 1)}
        counts = count_operations(onnx.load(path, load_external_data=False))
        found["nodes"] = sum(n for names in counts.values() for n in names.values())
        if exporter == "keras":
            rename_tensors(path, endpoint)
        proof = prove(reference, onnx=path, device="cpu", locate=False)
    except ParityError as error:
        return found | {"result": "differs", "error": shorten(error)}
    except Exception as error:
        # A refusal is a result too.
        return found | {"error": shorten(error)}
    return found | {"result": "proven", "max_rel_diff": proof["max_rel_diff"], "weak": sorted(proof["weak"])}


def shorten(error):
    """Returns the message without colours and folders, and the line that raised it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    said = f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"
    return " ".join(re.sub(r"\x1b\[\d*m|(?<!\S)/\S+/", "", said).split())[:600]


def export_both(network, exporters, folder):
    """Yields the results after each step, so that a crash loses only the later ones."""
    import keras

    keras.utils.set_random_seed(0)
    try:
        model = network.build()
        # Keras's exporter refuses a model that has not been called.
        model(draw(model), training=False)
    except Exception as error:
        yield {"built": False, "error": shorten(error)}
        return
    yield {"built": True, "parameters": model.count_params()}
    try:
        endpoint, reference, drawn = compute_answers(model)
    except Exception as error:
        # Without an endpoint there is nothing to compare with.
        refused = {"result": "not converted", "error": shorten(error)}
        yield {name: refused if name == EXPORTERS[0] else try_to_write(model, folder) for name in exporters}
        return
    yield {"samples": drawn}
    for exporter in exporters:
        yield {exporter: judge(exporter, model, endpoint, reference, folder / f"{exporter}.onnx")}
