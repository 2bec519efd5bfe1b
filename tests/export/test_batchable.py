"""A network whose answers depend on the other examples of their batch: nothing merges its requests or cuts a batch."""

import json
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
from keras import layers, ops

import export
from export.storage.manifest import is_batchable, read_manifest, write_manifest
from tests.export.models import Function, randomise
from tests.export.server import serving
from tests.export.test_deployment import parsed

pytestmark = pytest.mark.usefixtures("in_this_process")


def draw(seed, count=3):
    return np.random.default_rng(seed).normal(size=(count, 4)).astype("float32")


def mixing(endpoint):
    x = keras.Input((4,), name="x")
    return randomise(keras.Model(x, Function(endpoint, name="y")(layers.Dense(3)(x))))


MODELS = {
    "centred": lambda y: y - ops.mean(y, axis=0, keepdims=True),
    "pooled": lambda y: ops.mean(y, axis=0),
    "scalar": lambda y: ops.mean(y),
}


def marked(folder, batchable):
    """Changes what an artifact says of its examples; None takes it away, as in an artifact from before the proof."""
    about = {k: v for k, v in read_manifest(folder).items() if k not in ("format", "files", "sha256", "batchable")}
    write_manifest(folder, about | ({} if batchable is None else {"batchable": batchable}))
    return folder


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Models, and the folders of their artifacts."""
    models = {name: mixing(endpoint) for name, endpoint in MODELS.items()}
    out = tmp_path_factory.mktemp("mixed")
    folders = {
        name: export.export(model, out / name, formats="onnx", name=name, batch_sizes=(1, 3)).path
        for name, model in models.items()
    }
    return models, {name: marked(folder, False) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def both(mixed, tmp_path_factory):
    """A server that waits long for others, and serves over HTTP and gRPC."""
    log = tmp_path_factory.mktemp("both") / "log"
    with serving(log, *mixed[1].values(), "--max-delay-ms", 500, "--grpc-port", 0) as running:
        yield running


@pytest.mark.parametrize(
    ("said", "expected"), [(True, True), (False, False), (None, False), (1, False), ("true", False)]
)
def test_only_what_was_proven_is_batched(said, expected):
    assert is_batchable({} if said is None else {"batchable": said}) is expected


@pytest.mark.parametrize("name", MODELS)
def test_predict_computes_all_at_once_and_refuses_to_cut(name, mixed):
    models, folders = mixed
    x, predictor = draw(0, count=40), export.load(folders[name])
    expected = np.asarray(models[name](x))
    for given in (predictor.predict(x), predictor.predict(x, batch_size=40), predictor(x)):
        assert given.shape == expected.shape
        np.testing.assert_allclose(given, expected, atol=1e-5)
    with pytest.raises(ValueError, match="Expected batch_size to be None or at least 40, .* Received: batch_size=39"):
        predictor.predict(x, batch_size=39)


def test_predict_notices_that_there_is_not_an_answer_for_each_example(mixed, tmp_path):
    from shutil import copytree

    predictor = export.load(marked(copytree(mixed[1]["pooled"], tmp_path / "wrong"), True))
    with pytest.raises(
        export.ExportError, match=r"Expected 5 answers in .*, one for each example. Received: shape \(3,\)"
    ):
        predictor.predict(draw(0, count=5))


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
@pytest.mark.parametrize("name", MODELS)
def test_each_client_is_answered_as_if_alone(name, binary, mixed, both):
    requests = [draw(seed) for seed in range(6)]
    output = read_manifest(mixed[1][name])["outputs"][0]["name"]

    def ask(x):
        tensor = {"name": "x", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}
        wanted = {"name": output, "parameters": {"binary_data": binary}}
        body = json.dumps({"inputs": [tensor], "outputs": [wanted]})
        status, headers, answer = both.request("POST", f"/v2/models/{name}/infer", body)
        assert status == 200, answer
        size = int(headers.get("inference-header-content-length", len(answer)))
        (given,) = json.loads(answer[:size])["outputs"]
        data = np.frombuffer(answer[size:], "<f4") if binary else given["data"]
        return np.reshape(np.asarray(data, "float32"), given["shape"])

    with ThreadPoolExecutor(6) as clients:
        answers = list(clients.map(ask, requests))
    for x, given in zip(requests, answers, strict=True):
        expected = np.asarray(mixed[0][name](x))
        assert given.shape == expected.shape
        np.testing.assert_allclose(given, expected, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_grpc_answers_as_if_alone_too(name, mixed, both):
    triton = pytest.importorskip("tritonclient.grpc", reason="the extra grpc is not installed", exc_type=ImportError)
    port = both.wait_for(r"listening on grpc://127.0.0.1:(\d+)")[1]
    requests = [draw(seed) for seed in range(4)]
    output = read_manifest(mixed[1][name])["outputs"][0]["name"]

    def ask(x):
        tensor = triton.InferInput("x", list(x.shape), "FP32")
        tensor.set_data_from_numpy(x)
        with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
            return client.infer(name, [tensor], client_timeout=60).as_numpy(output)

    with ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(ask, requests))
    for x, given in zip(requests, answers, strict=True):
        expected = np.asarray(mixed[0][name](x))
        assert given.shape == expected.shape
        np.testing.assert_allclose(given, expected, atol=1e-5)


def test_the_log_says_which_models_are_not_batched(both):
    assert both.log.read_text().count("is not batched: an answer depends on the other examples of its batch.") == 3


def test_who_verifies_an_artifact_from_before_the_proof_is_told(mixed, tmp_path, artifact):
    from shutil import copytree

    old = marked(copytree(mixed[1]["centred"], tmp_path / "old"), None)
    assert export.verify(old, device="cpu")["not_batched"].endswith("Export it again to prove it.")
    assert "depends on the other examples" in export.verify(mixed[1]["centred"], device="cpu")["not_batched"]
    assert export.verify(marked(old, True), device="cpu")["not_batched"] is None


def test_triton_is_not_told_to_batch_and_gets_whole_shapes(mixed, tmp_path):
    entry = export.deploy(mixed[1]["centred"], tmp_path, target="triton")
    config = parsed((entry / "config.pbtxt").read_text())
    assert (config.max_batch_size, config.HasField("dynamic_batching")) == (0, False)
    assert (list(config.input[0].dims), list(config.output[0].dims)) == ([-1, 4], [-1, 3])


def test_int8_is_not_judged_on_batches_that_were_cut(tmp_path):
    from export.precision.quantisation import rewrite_quantised

    x, labels = {"x": draw(0)}, np.zeros(3, "int64")
    with pytest.raises(export.PrecisionError, match="examples are independent for precision='int8'"):
        rewrite_quantised(tmp_path / "model.onnx", "int8", x, x, labels, 0.5, batchable=False)
