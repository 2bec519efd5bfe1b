"""The devices that onnxruntime runs on: options, missing ones, silent fallbacks, and the proof before an answer."""

import shutil
from types import SimpleNamespace
from typing import get_args

import numpy as np
import onnxruntime
import pytest

import export
from export.proof.devices import prove_on_device, widen_tolerance
from export.runtime import sessions
from export.runtime.providers import DEVICES, Device, takes_gpu
from tests.export.models import images
from tests.export.server import content, output, serving
from tests.export.small_artifact import small
from tests.processes import keras_skip

CPU, OPENVINO = "CPUExecutionProvider", "OpenVINOExecutionProvider"
HERE = onnxruntime.get_available_providers()
needs_openvino = pytest.mark.skipif(OPENVINO not in HERE, reason="onnxruntime-openvino is not installed.")


class Pretending(onnxruntime.InferenceSession):
    """A session on the CPU that says that it runs elsewhere."""

    wrong, computes = 0.0, {"MatMul", "Gemm"}

    def __init__(self, path, options, providers, **_):
        self.asked, self.given = providers, options
        super().__init__(path, options, providers=[CPU])

    def get_providers(self):
        return [name for name, _ in self.asked] + [CPU]

    def get_provider_graph_assignment_info(self):
        device = self.asked[0][0]
        parts = super().get_provider_graph_assignment_info()
        return [
            SimpleNamespace(
                ep_name=device if node.op_type in self.computes else CPU, get_nodes=lambda node=node: [node]
            )
            for part in parts
            for node in part.get_nodes()
        ]

    def run(self, names, batch, options=None):
        here = self.wrong if self.asked[0][0] != CPU else 0.0
        return [y + np.float32(here) for y in super().run(names, batch, options)]


@pytest.fixture
def pretending(monkeypatch):
    """Every device seems to be there."""
    session = type("Session", (Pretending,), {})
    monkeypatch.setattr(sessions.onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(
        sessions.onnxruntime, "get_available_providers", lambda: [provider.name for provider in DEVICES.values()]
    )
    return session


@pytest.mark.parametrize(
    ("device", "package"),
    [
        ("cuda", "onnxruntime-gpu"),
        ("cuda-tf32", "onnxruntime-gpu"),
        ("tensorrt", "tensorrt-cu12"),
        ("openvino", "onnxruntime-openvino"),
        ("coreml", "a Mac"),
        ("directml", "onnxruntime-directml"),
    ],
)
def test_the_error_for_a_missing_device_names_the_package_to_install(device, package, small_artifact, monkeypatch):
    monkeypatch.setattr(sessions.onnxruntime, "get_available_providers", lambda: [CPU])
    with pytest.raises(export.DeviceError, match=f"has no \\w+ExecutionProvider. It needs .*{package}"):
        export.load(small_artifact, device=device)


def test_the_error_of_a_missing_library_does_not_quote_source_code(small_artifact):
    if "TensorrtExecutionProvider" not in sessions.onnxruntime.get_available_providers():
        pytest.skip("needs onnxruntime-gpu")
    try:
        export.load(small_artifact, device="tensorrt")
    except export.DeviceError as error:
        assert "tensorrt-cu12" in str(error) and "::" not in str(error) and ".cc" not in str(error)
    else:
        pytest.skip("TensorRT is installed")


@pytest.mark.parametrize(
    ("device", "providers"),
    [
        ("cpu", [(CPU, {})]),
        ("cuda", [("CUDAExecutionProvider", {"use_tf32": "0"})]),
        ("cuda-tf32", [("CUDAExecutionProvider", {"use_tf32": "1"})]),
        ("tensorrt", [("TensorrtExecutionProvider", {}), ("CUDAExecutionProvider", {"use_tf32": "0"})]),
        # Without a precision OpenVINO computes in bfloat16 on some processors.
        ("openvino", [(OPENVINO, {"device_type": "CPU", "precision": "FP32", "num_of_threads": "3"})]),
        ("coreml", [("CoreMLExecutionProvider", {"ModelFormat": "MLProgram"})]),
        ("directml", [("DmlExecutionProvider", {})]),
    ],
)
def test_each_device_gets_its_options(device, providers, small_artifact, pretending):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 3
    session = sessions.open_session(small_artifact / "model.onnx", device=device, options=options)
    assert session.asked == providers
    assert session.given.enable_mem_pattern == (device != "directml")


def test_a_device_that_leaves_the_layers_to_the_cpu_is_refused(small_artifact, pretending):
    pretending.computes = {"Cast", "Sub", "Mul", "Div", "Reshape", "Softmax"}
    for device in ("openvino", "cuda"):
        with pytest.raises(export.DeviceError, match="at least half of the operations with weights. Received: 0 of 1;"):
            export.load(small_artifact, device=device)


def test_an_onnxruntime_that_does_not_tell_where_it_computes_is_trusted_with_cuda_alone(
    small_artifact, pretending, monkeypatch
):
    def hidden(self, name):
        if name == "get_provider_graph_assignment_info":
            raise AttributeError(name)
        return object.__getattribute__(self, name)

    monkeypatch.setattr(pretending, "__getattribute__", hidden, raising=False)
    export.load(small_artifact, device="cuda")
    with pytest.raises(export.DeviceError, match="Expected onnxruntime 1.24 or newer for openvino"):
        export.load(small_artifact, device="openvino")


def test_onnxruntime_itself_may_not_fall_back(small_artifact, pretending, monkeypatch):
    given = []
    monkeypatch.setattr(pretending, "__init__", lambda self, *_, **options: given.append(options) or 1 / 0)
    for device, error in (("cpu", export.ExportError), ("cuda", export.DeviceError)):
        with pytest.raises(export.ExportError, match="cannot open .*division by zero") as raised:
            sessions.open_session(small_artifact / "model.onnx", device=device)
        assert raised.type is error and not given[-1]["enable_fallback"]


def test_ray_reserves_a_gpu_for_what_may_compute_on_one():
    assert [device for device in DEVICES if takes_gpu(device)] == ["cuda", "cuda-tf32", "tensorrt"]


def test_a_session_on_another_provider_is_refused(small_artifact, pretending):
    pretending.get_providers = lambda self: [CPU]
    with pytest.raises(export.DeviceError, match=f"not run on {OPENVINO}, but on {CPU}. It needs onnxruntime-openvino"):
        export.load(small_artifact, device="openvino")


@pytest.mark.parametrize(("device", "is_coarse"), [("openvino", False), ("directml", False), ("cuda", False)]
    + [("cuda-tf32", True), ("tensorrt", True), ("coreml", True)])  # fmt: skip
def test_a_device_must_agree_with_the_recorded_answers_before_it_answers(device, is_coarse, small_artifact, pretending):
    x = np.zeros((1, 3, 4, 3), "uint8")
    assert export.load(small_artifact, device=device)(x) == pytest.approx(export.load(small_artifact)(x))
    pretending.wrong = 2e-3
    if is_coarse:
        export.load(small_artifact, device=device)
    else:
        with pytest.raises(export.ParityError, match=f"onnxruntime on {device} against Keras, recorded at export"):
            export.load(small_artifact, device=device)
    pretending.wrong = 6e-3
    with pytest.raises(export.ParityError, match="Received: 0.00[56]"):
        export.load(small_artifact, device=device)
    export.load(small_artifact)


def test_coarse_devices_get_a_relative_tolerance_for_outputs_other_than_probabilities(tmp_path, pretending):
    artifact = small(tmp_path / "logits", activation=None, labels=None, formats="onnx")
    with np.load(artifact / "samples.npz") as arrays:
        answers = np.concatenate([arrays[name] for name in arrays.files if "output/" in name])
    narrowest = np.min(np.ptp(answers, axis=0))
    pretending.wrong = 2.2e-3 * narrowest
    export.load(artifact, device="coreml")
    with pytest.raises(export.ParityError):
        export.load(artifact, device="openvino")
    pretending.wrong = 4e-3 * narrowest
    with pytest.raises(export.ParityError):
        export.load(artifact, device="coreml")


def test_a_coarse_device_may_move_one_decision_in_a_hundred_and_keeps_what_else_is_allowed():
    kept = {"floor": {"y": np.ones(2)}, "unsettled": {"one": {}}}
    exact = {"atol": 1e-5, "agreement": 1.0, "decision": "argmax", "rms": None, **kept}
    assert widen_tolerance("openvino", exact) == exact
    assert widen_tolerance("tensorrt", exact) == {**exact, "atol": 1e-5 + 5e-3, "agreement": 0.99}
    # A quantised file is held to no decision of Keras's in the first place.
    assert widen_tolerance("coreml", {**exact, "agreement": 0.0})["agreement"] == 0.0
    assert widen_tolerance("coreml", {**exact, "rms": {"y": 0.1}})["rms"] == {"y": 0.1 + 5e-3}
    numbers = {**exact, "decision": None}
    assert widen_tolerance("cuda-tf32", numbers) == {**numbers, "rtol": 2.5e-3, "agreement": 0.99}
    assert widen_tolerance("cuda-tf32", {**numbers, "rms": {"y": 0.1}})["rms"] == {"y": 0.1}


def test_without_recorded_answers_a_device_must_agree_with_the_cpu(tmp_path, pretending):
    artifact = small(tmp_path / "private", record="none", formats="onnx")
    export.load(artifact, device="openvino")
    pretending.wrong = 1e-3
    with pytest.raises(export.ParityError, match="onnxruntime on openvino against onnxruntime on the CPU"):
        export.load(artifact, device="openvino")


@pytest.mark.parametrize("device", ["cpu", "openvino"])
def test_a_quantised_network_is_held_to_its_root_mean_square_difference_from_keras(device):
    # The difference of int8 from Keras on random inputs may exceed 1, which every probability is within.
    tolerance = {"atol": 1.4, "agreement": 0.0, "decision": "argmax", "rms": {"y": 0.23}}
    y = np.eye(4, dtype="float32")[np.arange(40) % 4]
    inputs = {"random": {"x": np.arange(40, dtype="float32")}}

    def wrong_for(count):
        return lambda _: {"y": np.concatenate([y[:count][:, ::-1], y[count:]])}

    recorded, on_cpu = (inputs, {"random": {"y": y}}, tolerance), lambda: wrong_for(0)
    prove_on_device(wrong_for(4), recorded, device, "a device", on_cpu)
    # Five of the forty answers are wrong, each by 1 in two of its four numbers.
    with pytest.raises(export.ParityError, match="root-mean-square difference .* at most 0.23. Received: 0.25"):
        prove_on_device(wrong_for(5), recorded, device, "a device", on_cpu)


def test_samples_that_were_changed_prove_nothing(small_artifact, tmp_path, pretending):
    copy = shutil.copytree(small_artifact, tmp_path / "copy")
    (copy / "samples.npz").write_bytes(b"other")
    with pytest.raises(export.VerificationError, match=r"samples\.npz"):
        export.load(copy, device="openvino")


def test_the_command_line_offers_every_device():
    from zoo.cli import _options

    assert _options.DEVICES == tuple(DEVICES) == get_args(Device)


def test_an_export_is_proven_on_the_cpu_and_on_cuda_only(tmp_path):
    with pytest.raises(ValueError, match="'cpu', 'cuda', None"):
        export.export(None, tmp_path / "a", device="openvino")


@pytest.mark.skipif(OPENVINO in HERE, reason="onnxruntime-openvino is installed.")
@pytest.mark.parametrize("command", ["verify", "inspect", "serve"])
def test_the_command_line_reports_a_missing_device_in_one_line(command, small_artifact, tmp_path):
    done = keras_skip(command, small_artifact, "--device", "openvino", cwd=tmp_path, expect=1)
    (line,) = done.stderr.splitlines()
    assert "onnxruntime-openvino" in line


@needs_openvino
def test_openvino_computes_all_of_a_network_as_keras_does(artifact, tmp_path):
    predictor = export.load(artifact, device="openvino")
    assert {name for name, _ in sessions.count_placed(predictor._session)} == {OPENVINO}
    np.testing.assert_allclose(predictor(images(9)), export.load(artifact)(images(9)), atol=1e-6)
    compared = {pair["candidate"]: pair for pair in export.verify(artifact, device="openvino")["comparisons"]}
    assert compared["onnxruntime, OpenVINO"]["status"] == "compared"
    with serving(tmp_path / "log", artifact, "--device", "openvino") as server:
        _, answer = server.infer(content(images(2)))
        np.testing.assert_allclose(output(answer), export.load(artifact)(images(2)), atol=1e-6)
        assert server.terminate() == 0
