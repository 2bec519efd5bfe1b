"""The versions of an ONNX file: its opset and its IR version, and the versions of onnxruntime that read them.

The default opset is 17, the last in which global average pooling is one operation. The converter knows opsets up to 18.
Between 18 and 24 ONNX widened the types of many operations, and added operations, but changed the form of few. So a
graph of opset 18 is one of a later opset as well, unless an operation in it has lost an attribute or an input; onnx's
own version converter rewrites those.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import ExportError, error_line
from .graph import walk_graph

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto
    from onnx.defs import OpSchema

OPSETS = range(13, 25)
DEFAULT_OPSET = 17
# The converter, tf2onnx, knows no later one.
LAST_CONVERTED = 18
# The newest opset of each onnxruntime, from https://onnxruntime.ai/docs/reference/compatibility.html#onnx-opset-support;
# `python -m benchmarks.export.runtimes` opens files in those that are installed. 1.15 reads opset 19, but cannot run
# its Cast and Reshape. The IR version of an opset is the one that onnx released with it, and each of these reads it.
RUNTIMES = {
    **{"1.13": 17, "1.14": 18, "1.15": 18, "1.16": 19, "1.17": 20, "1.18": 21, "1.19": 21, "1.20": 21, "1.21": 22},
    **{"1.22": 22, "1.23": 23, "1.24": 24, "1.25": 24, "1.26": 24},
}


def choose_opset(opset: int, for_runtime: str | None) -> int:
    """Returns the opset to write: `opset`, or the newest that the onnxruntime `for_runtime` runs.

    Raises:
        ValueError: If the opset or the onnxruntime is out of range, or both are given.
    """
    if isinstance(opset, bool) or opset not in OPSETS:
        raise ValueError(f"Expected opset to be between {OPSETS[0]} and {OPSETS[-1]}. Received: opset={opset!r}")
    if for_runtime is None:
        return opset
    newest = _newest_opset(for_runtime)
    if opset != DEFAULT_OPSET:
        raise ValueError(
            f"Expected opset or for_runtime, not both. Received: opset={opset!r}, for_runtime={for_runtime!r}"
        )
    return newest


def _newest_opset(runtime: str) -> int:
    version = re.fullmatch(r"(\d+\.\d+)(\.\d+)?", runtime) if isinstance(runtime, str) else None
    if version is None or version[1] not in RUNTIMES:
        first, *_, last = RUNTIMES
        raise ValueError(
            f'Expected for_runtime to be a version of onnxruntime from "{first}" to "{last}". '
            f"Received: for_runtime={runtime!r}"
        )
    return RUNTIMES[version[1]]


def raise_opset(model: "ModelProto", opset: int) -> "ModelProto":
    """Raises the opset of a converted model, and gives the model the IR version that belongs to the opset.

    Raises:
        ExportError: If an operation has no form in that opset.
    """
    from onnx import version_converter

    (main,) = (entry for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    changed = sorted({node.op_type for node in walk_graph(model.graph) if _has_changed(node, main.version, opset)})
    if changed:
        try:
            model = version_converter.convert_version(model, opset)
        except Exception as error:  # onnx's converter raises errors of many kinds.
            raise ExportError(
                f"Expected operations that onnx can convert to opset {opset}. "
                f"Received: {', '.join(changed)} ({error_line(error)})"
            ) from error
        if left := sorted(set(_find_foreign(model, opset))):
            raise ExportError(
                f"Expected operations that onnx can convert to opset {opset}. Received: {', '.join(left)}"
            )
    else:
        main.version = opset
    model.ir_version = ir_version(opset)
    return model


def ir_version(opset: int) -> int:
    """Returns the IR version that belongs to an opset."""
    from onnx import helper

    return int(helper.find_min_ir_version_for([helper.make_opsetid("", opset)]))


def _has_changed(node: "NodeProto", before: int, after: int) -> bool:
    """Whether a node would mean something else in a later opset, or would be invalid there."""
    import onnx

    if node.domain not in ("", "ai.onnx") or not onnx.defs.has(node.op_type, before, ""):
        return False
    old, new = (onnx.defs.get_schema(node.op_type, version, "") for version in (before, after))
    if old.since_version == new.since_version:
        return False
    known = {name: _default(new, name) for name in new.attributes}
    kept = all(known.get(name, "none") == _default(old, name) for name in old.attributes)
    inputs = [[value.name for value in schema.inputs] for schema in (old, new)]
    # The scale and bias of GroupNormalization became as many as there are channels, under the same names.
    return not kept or inputs[0] != inputs[1] or node.op_type == "GroupNormalization"


def _default(schema: "OpSchema", attribute: str) -> tuple[str, bytes]:
    about = schema.attributes[attribute]
    return str(about.type), about.default_value.SerializeToString()


def _find_foreign(model: "ModelProto", opset: int) -> Iterator[str]:
    """Yields operations with attributes that the opset does not have; onnx's converter leaves inner graphs alone."""
    import onnx

    for node in walk_graph(model.graph):
        if node.domain in ("", "ai.onnx") and onnx.defs.has(node.op_type, opset, ""):
            known = onnx.defs.get_schema(node.op_type, opset, "").attributes
            if any(attribute.name not in known for attribute in node.attribute):
                yield node.op_type
