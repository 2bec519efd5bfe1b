"""A SavedModel is a program; whatever in it does more than compute is refused before anything runs."""

import shutil

import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.core.protobuf import saved_model_pb2

import export
from export.convert.saved_model import check_saved_model
from tests.export.models import Function, mlp
from tests.export.test_keras_layers import on

SPECS = [tf.TensorSpec((None, 4), tf.float32, name="x")]

HARMFUL = {
    "ReadFile": lambda: tf.strings.length(tf.io.read_file("/etc/passwd")),
    "MatchingFiles": lambda: tf.size(tf.io.matching_files("/*")),
    "WriteFile": lambda: tf.io.write_file("/nonexistent/file", "x"),
    "ImmutableConst": lambda: tf.raw_ops.ImmutableConst(dtype=tf.float32, shape=[1], memory_region_name="/etc/passwd"),
    "DecodeProtoV2": lambda: tf.io.decode_proto([b""], "M", [], [], descriptor_source="/etc/passwd")[0],
    "RestoreV2": lambda: tf.raw_ops.RestoreV2(
        prefix="/x", tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32]
    )[0],
    "SaveV2": lambda: tf.raw_ops.SaveV2(prefix="/x", tensor_names=["a"], shape_and_slices=[""], tensors=[1.0]),
    "EagerPyFunc": lambda: tf.py_function(lambda: 1.0, [], tf.float32),
    "PyFunc": lambda: tf.numpy_function(lambda: np.float32(1), [], tf.float32),
    "PrintV2": lambda: tf.print("x"),
    "Abort": lambda: tf.raw_ops.Abort(),
    "DebugIdentityV2": lambda: tf.raw_ops.DebugIdentityV2(input=1.0, debug_urls=["file:///tmp/x"]),
    "FIFOQueueV2": lambda: tf.raw_ops.FIFOQueueV2(component_types=[tf.float32]),
    "TensorSliceDataset": lambda: tf.data.Dataset.from_tensor_slices([1]).reduce(0, lambda n, _: n + 1),
    "LMDBReader": lambda: tf.raw_ops.LMDBReader(),
    "AnonymousIteratorV3": lambda: tf.raw_ops.AnonymousIteratorV3(output_types=[tf.float32], output_shapes=[[]]),
    "Fact": lambda: tf.raw_ops.Fact(),
}


class Program(tf.Module):
    """Adds nothing to x, after it has done something else."""

    def __init__(self, harm=lambda: None):
        super().__init__()
        self.harm, self.one = harm, tf.Variable(1.0)

    @tf.function(input_signature=SPECS)
    def __call__(self, x):
        self.harm()
        return {"y": x * self.one}


def saved(program, path):
    tf.saved_model.save(program, str(path), signatures={"serving_default": program.__call__})
    return path


@pytest.fixture(scope="module")
def harmless(tmp_path_factory):
    return saved(Program(), tmp_path_factory.mktemp("harmless") / "saved_model")


@pytest.fixture
def edited(harmless, tmp_path):
    """A copy whose program `edited(change)` changes."""
    path = shutil.copytree(harmless, tmp_path / "edited")

    def edit(change):
        program = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
        change(program.meta_graphs[0])
        (path / "saved_model.pb").write_bytes(program.SerializeToString())
        return path

    return edit


def refused(path, message):
    with pytest.raises(export.VerificationError, match=message):
        check_saved_model(path)


def test_a_program_that_computes_passes(harmless):
    check_saved_model(harmless)


@pytest.mark.parametrize("name", HARMFUL)
def test_an_operation_that_does_more_is_refused(name, tmp_path):
    refused(saved(Program(HARMFUL[name]), tmp_path / "saved"), f"only computes.* is {name}$")


def test_a_table_that_is_read_from_a_file_is_refused(tmp_path):
    (tmp_path / "words").write_text("a\nb\n")
    program = Program()
    file = tf.lookup.TextFileInitializer(
        str(tmp_path / "words"),
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )
    program.table = tf.lookup.StaticHashTable(file, -1)
    program.harm = lambda: program.table.lookup(tf.constant(["a"]))
    path = saved(program, tmp_path / "saved")
    refused(path, "with assets/words")
    shutil.rmtree(path / "assets")
    refused(path, "whose asset is words")


def add(nodes):
    nodes.add(name="evil", op="ReadFile")


def test_an_operation_that_only_other_runtimes_run_is_refused(edited):
    refused(edited(lambda program: add(program.graph_def.node)), "evil is ReadFile")


def test_a_function_that_nothing_calls_is_refused(edited):
    def change(program):
        function = program.graph_def.library.function.add()
        function.signature.name = "unused"
        add(function.node_def)

    refused(edited(change), "evil is ReadFile")


def test_a_function_under_the_name_of_an_operation_is_refused(edited):
    def change(program):
        program.graph_def.library.function.add().signature.name = "ReadFile"
        add(program.graph_def.node)

    refused(edited(change), "evil is ReadFile")


@pytest.mark.parametrize("caller", ["main", "function", "signature", "input"])
def test_what_writes_a_checkpoint_may_not_be_called_by_others(caller, edited):
    def change(program):
        (saver,) = [f.signature.name for f in program.graph_def.library.function if "traced_save" in f.signature.name]
        if caller == "signature":
            program.object_graph_def.concrete_functions[saver].SetInParent()
        elif caller == "input":
            program.graph_def.node.add(name="evil", op="NoOp").input.append("^" + program.saver_def.restore_op_name)
        else:
            other = next(f for f in program.graph_def.library.function if "__call__" in f.signature.name)
            nodes = program.graph_def.node if caller == "main" else other.node_def
            nodes.add(name="evil", op="PartitionedCall").attr["f"].func.name = saver

    refused(edited(change), "is (MergeV2Checkpoints|ShardedFilename|SaveV2|RestoreV2|DisableCopyOnRead)")


def test_two_graphs_are_refused(harmless, tmp_path):
    path = shutil.copytree(harmless, tmp_path / "copy")
    with (path / "saved_model.pb").open("ab") as file:
        file.write((path / "saved_model.pb").read_bytes())
    refused(path, "of TensorFlow 1")


@pytest.mark.parametrize("name", ["saved_model.cpb", "saved_model.pbtxt", "assets/words", "variables/more"])
def test_a_file_that_is_not_written_here_is_refused(name, harmless, tmp_path):
    path = shutil.copytree(harmless, tmp_path / "copy")
    (path / name).write_bytes(b"")
    refused(path, f"the files of a SavedModel. Received: .*, with {name}")


@pytest.mark.parametrize("spoil", ["missing", "garbage", "nothing"])
def test_what_is_no_program_is_refused(spoil, harmless, tmp_path):
    path = shutil.copytree(harmless, tmp_path / "copy")
    (path / "saved_model.pb").unlink()
    if spoil != "missing":
        (path / "saved_model.pb").write_bytes(b"garbage" if spoil == "garbage" else b"")
    refused(path, "Expected a SavedModel")


def test_a_model_that_does_more_than_compute_is_not_exported(tmp_path):
    def spoken(x):
        tf.print("spoken")
        return x

    with pytest.raises(export.ExportError, match="only computes. Received: functional.*, whose .* is PrintV2"):
        export.to_saved_model(on(Function(spoken), (3,), "float32"), tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


TABLES = {
    "IntegerLookup": lambda: on(layers.IntegerLookup(vocabulary=[1, 3]), (3,), "int64"),
    "Hashing": lambda: on(layers.Hashing(4), (3,), "int32"),
    "HashedCrossing": lambda: on(layers.HashedCrossing(4), [(1,), (1,)], "int32"),
    "MelSpectrogram": lambda: on(layers.MelSpectrogram(fft_length=64), (200,), "float32"),
    "mlp": mlp,
}


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_what_onnx_cannot_hold_passes_as_a_saved_model(make, tmp_path):
    check_saved_model(export.to_saved_model(make(), tmp_path / "saved"))
