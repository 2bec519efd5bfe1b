"""What is written for other servers: parsed with NVIDIA's own protobuf, and the files as they were exported."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

import export
import zoo.cli
from export.serving.deployment import make_inference_service, render_triton_config


def parsed(text):
    pytest.importorskip("google.protobuf", reason="protobuf is not installed")
    model_config = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="tritonclient[grpc] is missing")
    from google.protobuf import text_format

    return text_format.Parse(text, model_config.ModelConfig())


@pytest.fixture(scope="module")
def repository(artifact, tmp_path_factory):
    out = tmp_path_factory.mktemp("repository") / "models"
    assert export.deploy(artifact, out, target="triton", max_delay=0.005, queue=7) == out / "classifier"
    return out


def test_a_triton_entry_holds_the_same_onnx_file(repository, artifact):
    entry = repository / "classifier"
    found = sorted(path.relative_to(entry).as_posix() for path in entry.rglob("*") if path.is_file())
    assert found == ["1/model.onnx", "config.pbtxt", "labels.txt"]
    assert (entry / "1" / "model.onnx").read_bytes() == (artifact / "model.onnx").read_bytes()
    assert (entry / "labels.txt").read_text() == "ant\nbee\ncat\ndog\n"


def test_tritons_own_protobuf_reads_the_configuration(repository):
    config = parsed((repository / "classifier" / "config.pbtxt").read_text())
    (given,), (out,) = config.input, config.output
    assert (config.name, config.platform, config.max_batch_size) == ("classifier", "onnxruntime_onnx", 32)
    assert (
        given.name,
        list(given.dims),
        type(given).DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[given.data_type].name,
    ) == ("input", [8, 8, 3], "TYPE_UINT8")
    assert (out.name, list(out.dims), out.label_filename) == ("probabilities", [4], "labels.txt")
    assert config.dynamic_batching.max_queue_delay_microseconds == 5000
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 7


def test_any_shape_and_any_name_can_be_configured():
    manifest = {
        "labels": None,
        "batchable": True,
        "inputs": [{"name": 'im"a\\ge é', "shape": [None, None, None, 3], "dtype": "float32"}],
        "outputs": [
            {"name": "y", "shape": [None], "dtype": "int64"},
            {"name": "z", "shape": [None, 2], "dtype": "bool"},
        ],
    }
    config = parsed(render_triton_config("m", manifest, 1, 0.0, 1))
    assert (config.input[0].name, list(config.input[0].dims)) == ('im"a\\ge é', [-1, -1, 3])
    assert (list(config.output[0].dims), config.output[0].HasField("reshape")) == ([1], True)
    assert list(config.output[0].reshape.shape) == []
    assert (list(config.output[1].dims), config.output[1].label_filename) == ([2], "")


def test_labels_are_those_of_the_classes_not_of_the_gates():
    outputs = [{"name": name, "shape": [None, 2], "dtype": "float32"} for name in ("probabilities", "carry")]
    about = {
        "batchable": True,
        "labels": ["a", "b"],
        "inputs": [],
        "outputs": outputs,
        "gates": {"output": "carry", "layers": ["h", "i"]},
    }
    config = parsed(render_triton_config("m", about, 1, 0.0, 1))
    assert [(o.name, o.label_filename) for o in config.output] == [("probabilities", "labels.txt"), ("carry", "")]


def test_a_deployment_is_replaced_only_if_that_was_asked_for(repository, artifact, tmp_path):
    with pytest.raises(FileExistsError):
        export.deploy(artifact, repository, target="triton")
    export.deploy(artifact, repository, target="triton", overwrite=True, max_delay=0.005, queue=7)
    other = repository / "classifier" / "2" / "model.onnx"
    other.parent.mkdir()
    other.touch()
    with pytest.raises(FileExistsError, match="something else"):
        export.deploy(artifact, repository, target="triton", overwrite=True)
    shutil.rmtree(other.parent)
    (tmp_path / "classifier").mkdir()
    with pytest.raises(FileExistsError, match="something else"):
        export.deploy(artifact, tmp_path, target="triton", overwrite=True)


def test_a_spoiled_artifact_is_not_deployed(spoiled, tmp_path):
    (spoiled / "model.onnx").write_bytes(b"x")
    with pytest.raises(export.VerificationError, match="changed model.onnx"):
        export.deploy(spoiled, tmp_path / "models", target="triton")
    assert not (tmp_path / "models").exists()


def strict(schema):
    """A schema that knows no other fields than those it names, as kubectl takes it."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if isinstance(schema.get("properties"), dict) else {}
    return closed | {key: strict(part) for key, part in schema.items()}


@pytest.fixture(scope="module")
def find_mistakes():
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    schema = json.loads(Path(__file__).with_name("inferenceservice.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    (kind,) = schema["x-kubernetes-group-version-kind"]

    def find_mistakes(service):
        assert (service["apiVersion"], service["kind"]) == (f"{kind['group']}/{kind['version']}", kind["kind"])
        return [error.message for error in jsonschema.Draft7Validator(strict(schema)).iter_errors(service)]

    return find_mistakes


def test_kserves_own_schema_takes_the_manifest(find_mistakes, artifact, tmp_path):
    path = export.deploy(artifact, tmp_path, target="kserve", storage_uri="s3://bucket/models")
    assert find_mistakes(json.loads(path.read_text())) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda service: service["spec"].pop("predictor"),
        lambda service: service["spec"]["predictor"]["model"].update(storageURI="s3://bucket/models"),
        lambda service: service["spec"]["predictor"]["model"].update(protocolVersion=2),
        lambda service: service["spec"]["predictor"]["model"]["modelFormat"].pop("name"),
    ],
    ids=["no predictor", "a field unknown", "a number for a text", "no name of a format"],
)
def test_kserves_own_schema_finds_mistakes(spoil, find_mistakes):
    service = make_inference_service("net", "s3://bucket/models")
    spoil(service)
    assert find_mistakes(service) != []


def test_the_manifest_for_kserve_runs_triton_on_the_repository(artifact, tmp_path):
    path = export.deploy(artifact, tmp_path, target="kserve", name="My_Net.v2", storage_uri="s3://bucket/models")
    assert path == tmp_path / "my-net-v2.json"
    service = json.loads(path.read_text())
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    model = service["spec"]["predictor"]["model"]
    assert model["storageUri"] == "s3://bucket/models" and model["modelFormat"] == {"name": "triton"}
    with pytest.raises(FileExistsError):
        export.deploy(artifact, tmp_path, target="kserve", name="My_Net.v2", storage_uri="s3://bucket/models")


@pytest.mark.parametrize("name", ["1net", "---", "n" * 64])
def test_a_name_that_kubernetes_does_not_take_is_refused(name):
    with pytest.raises(ValueError, match="begins with a letter"):
        make_inference_service(name, "s3://bucket/models")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": "ray"}, "target='ray'"),
        ({"target": "kserve"}, "Expected storage_uri, where .* Received: target='kserve', storage_uri=None"),
        ({"target": "triton", "storage_uri": "s3://x"}, "Expected storage_uri only for kserve"),
        ({"target": "triton", "max_batch_size": 0}, "Expected max_batch_size to be a whole number, at least 1.*=0"),
        ({"target": "triton", "max_batch_size": 2.5}, "max_batch_size=2.5"),
        ({"target": "triton", "queue": 1.5}, "queue=1.5"),
        ({"target": "triton", "max_delay": float("inf")}, "Expected max_delay to be a finite number.*=inf"),
        ({"target": "triton", "max_delay": float("nan")}, "max_delay=nan"),
        ({"target": "triton", "name": "../x"}, r"name='\.\./x'"),
    ],
)
def test_arguments_that_are_not_usable_are_refused(options, said, artifact, tmp_path):
    with pytest.raises(ValueError, match=said):
        export.deploy(artifact, tmp_path / "models", **options)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["triton", "--replicas", "2"], "Expected --replicas only for ray. Received: --replicas for triton"),
        (["ray", "--storage-uri", "s3://x"], "Expected --storage-uri only for kserve. Received: --storage-uri for ray"),
        (["ray", "--out", "models"], "Expected --out only for triton or kserve. Received: --out for ray"),
        (
            ["kserve", "--max-batch-size", "8"],
            "Expected --max-batch-size only for triton or ray. Received: --max-batch-size",
        ),
        (["kserve"], "Expected --storage-uri for kserve, such as s3://bucket/models. Received: none"),
    ],
)
def test_options_of_another_target_are_refused(words, said, artifact, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["keras-skip", "deploy", str(artifact), "--target", *words])
    with pytest.raises(SystemExit) as ended:
        zoo.cli.main()
    assert ended.value.code == 1 and re.match(f"Error: {said}", capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_it_wrote(artifact, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(sys, "argv", ["keras-skip", "deploy", str(artifact), "--target", "triton", "--name", "net"])
    with pytest.raises(SystemExit) as ended:
        zoo.cli.main()
    assert ended.value.code == 0 and "models/net" in capsys.readouterr().out
    assert (tmp_path / "models" / "net" / "config.pbtxt").is_file()
