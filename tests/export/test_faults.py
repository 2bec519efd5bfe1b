"""What happens when something computes wrongly or crashes: a report that says what and where."""

import os

import keras
import numpy as np
import onnx
import pytest

import export
from export.engines import tensorflow
from export.proof.first_difference import find_difference_from_plain
from export.runtime import processes, providers
from export.runtime.processes import ON, OPTIMISED
from export.storage import onnx_files
from tests.export.models import conv_net, randomise

layers = keras.layers


def two_blocks() -> keras.Model:
    from keras_skip import PreActivationBlock

    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, padding="same", name="stem")(inputs)
    x = PreActivationBlock(6, name="first")(x)
    x = PreActivationBlock(6, name="second")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return randomise(keras.Model(inputs, layers.Dense(4, name="logits")(x)))


@pytest.mark.parametrize(
    ("user", "reported"),
    [("Conv", "second/"), ("MatMul", "logits/MatMul")],
)
def test_a_damaged_weight_is_found_where_it_first_shows(user, reported, tmp_path, monkeypatch):
    converted = tensorflow.convert_endpoint

    def damaged(*arguments):
        model = converted(*arguments)
        last = [node for node in model.graph.node if node.op_type == user][-1]
        (weights,) = [i for i in model.graph.initializer if i.name == last.input[1]]
        values = onnx.numpy_helper.to_array(weights).copy()
        values.flat[3] += 1.0
        weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
        return model

    monkeypatch.setattr(tensorflow, "convert_endpoint", damaged)
    message = rf"onnxruntime, not optimised against Keras .* The first tensor that differs from Keras is \S*{reported}"
    with pytest.raises(export.ParityError, match=message) as caught:
        export.export(two_blocks(), tmp_path / "a", formats="onnx")
    assert "by " in str(caught.value) and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("beside", [False, True], ids=["weights inside", "weights beside"])
def test_where_nothing_differs_inside_that_is_said(beside, tmp_path, monkeypatch):
    path = export.to_onnx(two_blocks(), tmp_path / "m.onnx")
    if beside:
        monkeypatch.setattr(onnx_files, "LARGEST", 100)
        onnx_files.save_model(onnx.load(path), path)
        assert onnx_files.data_path(path).exists()
    batch = {"input": np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")}
    assert find_difference_from_plain(path, batch, OPTIMISED).startswith("None of the ")


@pytest.mark.parametrize(
    ("crash", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", 'The process for "onnxruntime, not optimised" died of SIGSEGV'),
        ("os._exit(3)", 'The process for "onnxruntime, not optimised" ended with exit code 3'),
    ],
    ids=["segfault", "exit"],
)
def test_a_crash_of_the_runtime_is_a_report(crash, message, artifact, tmp_path, monkeypatch):
    # Python imports a module of this name when it starts, here in the process that runs onnxruntime.
    (tmp_path / "sitecustomize.py").write_text(
        f"import os, signal, onnxruntime\nonnxruntime.InferenceSession.run = lambda *_: {crash}\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    with pytest.raises(export.ExportError, match=message):
        export.verify(artifact)
    with pytest.raises(export.ExportError, match=message):
        export.to_onnx(conv_net(), tmp_path / "m.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["sitecustomize.py"]


def test_a_crash_after_the_last_answer_changes_nothing(artifact, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("import atexit, os\natexit.register(os._exit, 3)\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    assert export.verify(artifact)["max_abs_diff"] <= 1e-5


@pytest.mark.parametrize("driver", [False, True])
def test_a_process_tries_cuda_only_where_there_is_a_driver_of_nvidia(driver, tmp_path, monkeypatch):
    tried = []
    monkeypatch.setattr(processes, "has_nvidia_driver", lambda: driver)
    monkeypatch.setattr(processes, "run_forms", lambda model, batches, forms: tried.extend(forms) or {})
    _, absent = processes.run_everywhere(tmp_path / "model.onnx", {})
    assert (ON["cuda"] in tried) == driver
    assert list(absent) == ([] if driver else ["onnxruntime, CUDA"])
    assert all(reason.startswith("CUDA does not run without NVIDIA's driver.") for reason in absent.values())


@pytest.mark.parametrize("driver", [False, True])
def test_the_driver_of_nvidia_is_there_if_its_library_loads(driver, monkeypatch):
    def load(name):
        assert name in ("libcuda.so.1", "nvcuda.dll")
        if not driver:
            raise OSError(name)

    monkeypatch.setattr(providers.ctypes, "CDLL", load)
    assert providers.has_nvidia_driver.__wrapped__() == driver
