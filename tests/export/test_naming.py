"""What Netron shows of a file: producer, names after the layers, and shapes; and that its bytes are always the same."""

import hashlib
import os
import re
import subprocess
import sys

import keras
import onnx
import pytest
from keras import layers

import export
import keras_skip
from export.convert.graph import walk_graph
from export.convert.naming import tensorflow_names
from tests.export.models import RAW
from tests.processes import run_code
from tests.sweep import sweep

pytestmark = pytest.mark.usefixtures("in_this_process")


def network() -> keras.Model:
    inputs = keras.Input((None, None, 3), name="photo")
    x = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    shared = layers.Conv2D(4, 1, activation="relu", name="shared")
    block = keras.Sequential([keras.Input((None, None, 4)), layers.Conv2D(4, 1, name="inside")], name="block")
    x = layers.Add(name="skip")([shared(shared(x)), block(x)])
    x = layers.LayerNormalization(name="norm")(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(x)), name="whole")


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> onnx.ModelProto:
    return onnx.load(export.to_onnx(network(), tmp_path_factory.mktemp("named") / "m.onnx", preprocessing=RAW))


def test_nodes_and_values_are_named_after_layers(written):
    graph = written.graph
    scopes = {node.op_type: [] for node in graph.node}
    for node in graph.node:
        scopes[node.op_type].append(node.name.split("/")[:-1])
    assert scopes["Conv"] == [["stem"], ["shared"], ["shared"], ["block", "inside"]]
    assert ["norm", "moments"] in scopes["ReduceMean"] and ["preprocessing"] in scopes["Cast"]
    names = [node.name for node in graph.node]
    values = [name for node in graph.node for name in node.output]
    assert len(set(names)) == len(names) and len(set(values)) == len(values)
    for name in [*names, *values, *(constant.name for constant in graph.initializer)]:
        assert not re.search(r"whole|__\d\d|:0|functional|PartitionedCall|ReadVariableOp|\d{6}", name), name
    (conv, *_) = (node for node in graph.node if node.op_type == "Conv")
    assert conv.input[1] == f"{conv.name}/W"


def test_every_value_has_a_type_and_a_shape_with_the_names_of_dynamic_sizes(written):
    graph = written.graph
    known = {value.name: value.type.tensor_type for value in (*graph.value_info, *graph.output)}
    assert {name for node in graph.node for name in node.output} == set(known)
    (conv, *_) = (node for node in graph.node if node.op_type == "Conv")
    # onnx does not know the size after a convolution of a dynamic size.
    shape = known[conv.output[0]].shape
    assert [dim.dim_param or dim.dim_value for dim in shape.dim] == ["batch", 4, 0, 0]


def test_the_producer_is_this_package(written):
    assert (written.producer_name, written.producer_version) == ("keras-skip", keras_skip.__version__)


SCRIPT = """
import hashlib, sys
import keras
import numpy as np
from keras import layers
import export
keras.utils.set_random_seed(0)
inputs = keras.Input((None, 6))
x = layers.MultiHeadAttention(2, 3)(inputs, inputs)
x = layers.GRU(4, reset_after=False)(layers.Masking()(layers.Conv1D(6, 3, padding="same")(x)))
model = keras.Model(inputs, layers.Dense(2)(x))
samples = np.random.default_rng(0).normal(size=(2, 4, 6)).astype("float32")
for path in sys.argv[1:]:
    print(hashlib.sha256(export.to_onnx(model, path, samples=samples).read_bytes()).hexdigest())
"""


def test_the_same_model_has_the_same_bytes_in_every_conversion_and_process(tmp_path):
    """In two processes that order their sets differently: a forked one, which keeps its hash seed, and a new one."""
    forked = run_code(SCRIPT, tmp_path / "a.onnx", tmp_path / "b.onnx", cwd=tmp_path).split()
    environment = {**os.environ, "PYTHONHASHSEED": "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "c.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert {*forked, *done.stdout.split()} == {hashlib.sha256((tmp_path / "a.onnx").read_bytes()).hexdigest()}


@pytest.mark.parametrize("opset", sweep([17, 21], lambda opset: opset == 21))
def test_loops_have_names_of_their_own_inside(opset, tmp_path):
    inputs = keras.Input((5, 3))
    model = keras.Model(inputs, layers.GRU(4, reset_after=False, name="memory")(layers.Masking()(inputs)))
    graph = onnx.load(export.to_onnx(model, tmp_path / "m.onnx", opset=opset)).graph
    names = [node.name for node in walk_graph(graph)]
    assert len(set(names)) == len(names) and not [name for name in names if "frozen" in name]


def test_values_of_several_results_keep_their_place():
    assert tensorflow_names("cell/split:1", "net") == ["net/cell/split:1", "cell/split:1"]
    assert tensorflow_names("cell/add", "net") == ["net/cell/add:0", "cell/add:0"]
