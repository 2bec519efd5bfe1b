"""parity.json and samples.npz as others may have edited them."""

import json
import shutil

import keras
import numpy as np
import onnx
import pytest
from keras import layers

import export
from export import verification
from export.storage.agreement import check_batch
from export.storage.manifest import read_manifest, write_manifest
from tests.export.models import randomise

RECORDS = {
    "no comparisons": lambda p: p.pop("comparisons"),
    "none": lambda p: p.update(comparisons=[]),
    "text": lambda p: p.update(comparisons="text"),
    "no tolerance": lambda p: p["comparisons"][0].pop("atol"),
    "a tolerance of text": lambda p: p["comparisons"][0].update(atol="much"),
    "a tolerance without end": lambda p: p["comparisons"][0].update(atol=float("inf")),
    "a tolerance that is no number": lambda p: p["comparisons"][0].update(rtol=float("nan")),
    "no root mean squares": lambda p: p["comparisons"][0].update(rms=[0.1]),
    "a root mean square of another output": lambda p: p["comparisons"][0].update(rms={"other": 0.1}),
    **{
        f"a root mean square of {value}"[:40]: lambda p, value=value: p["comparisons"][0].update(
            rms={"probabilities": value}
        )
        for value in (-0.1, float("nan"), float("inf"), None, "much", 10**400)
    },
}


@pytest.mark.parametrize("change", RECORDS.values(), ids=RECORDS)
def test_a_proof_that_is_none_is_refused(change, here):
    parity = json.loads((here / "parity.json").read_text())
    change(parity)
    (here / "parity.json").write_text(json.dumps(parity))
    manifest = read_manifest(here)
    with pytest.raises(export.VerificationError, match="parity.json"):
        verification.read_recorded(here, manifest)


SPOILT = {
    "no sign": ("0/allowed/probabilities", np.array([-1.0])),
    "no end": ("0/allowed/probabilities", np.array([np.inf])),
    "no number": ("0/allowed/probabilities", np.array([np.nan])),
    "text": ("0/allowed/probabilities", np.array(["much"])),
    "no truth": ("0/unsettled/probabilities", np.zeros((1, 2))),
    "another shape": ("0/unsettled/probabilities", np.zeros((1, 3), bool)),
    "another output": ("0/unsettled/other", np.zeros((1, 2), bool)),
}


@pytest.mark.parametrize(("name", "array"), SPOILT.values(), ids=SPOILT)
def test_what_samples_excuse_has_a_form(name, array, here):
    with np.load(here / "samples.npz") as file:
        arrays = dict(file)
    np.savez(here / "samples.npz", **arrays | {name: array})
    with pytest.raises(export.VerificationError, match="samples.npz to hold allowed differences"):
        verification.read_recorded(here, read_manifest(here))


def test_inputs_of_one_batch_have_equally_many_examples(here):
    two = [{"name": name, "shape": [None, 2], "dtype": "float32"} for name in "ab"]
    inputs = {"a": np.zeros((3, 2), "float32"), "b": np.zeros((2, 2), "float32")}
    with pytest.raises(export.VerificationError, match="with inputs of one batch, as artifact.json says"):
        check_batch({"inputs": two}, here, inputs=inputs)
    check_batch({"inputs": two}, here, inputs=inputs | {"b": inputs["a"]})


@pytest.mark.parametrize("spoil", ["names", "input", "shape", "dtype", "nothing"])
def test_samples_that_do_not_fit_are_refused(spoil, here):
    with np.load(here / "samples.npz") as file:
        arrays = dict(file)
    if spoil in ("names", "nothing"):
        arrays = {} if spoil == "names" else {"names": np.zeros(0, "<U1")}
    else:
        x = arrays.pop("0/input/x")
        arrays |= {"shape": {"0/input/x": x[:, :2]}, "dtype": {"0/input/x": x.astype("int8")}}.get(spoil, {})
    np.savez(here / "samples.npz", **arrays)
    with pytest.raises(export.VerificationError, match="samples.npz (to hold batches|with .* as artifact.json says)"):
        verification.read_recorded(here, read_manifest(here))


def network() -> keras.Model:
    inputs = keras.Input((None, 6, 3), name="image"), keras.Input((4,), dtype="int32", name="words")
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(5, 3, padding="same")(inputs[0]))
    known = layers.Flatten()(layers.Embedding(11, 2)(inputs[1]))
    return randomise(keras.Model(inputs, layers.Dense(3, name="logits")(layers.Concatenate()([x, known]))))


SECRET = {
    "image": np.full((3, 9, 6, 3), 0.123456789, "float32"),
    "words": np.array([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 0, 1]], "int32"),
}


def holds_secret(folder):
    """Whether the pixels or the words of the samples are in any file of an artifact."""
    wanted = SECRET["image"][:1, :1, :1].tobytes(), SECRET["words"][:1].tobytes()
    return any(each in path.read_bytes() for path in folder.rglob("*") if path.is_file() for each in wanted)


def test_synthetic_records_leave_real_inputs_out(tmp_path):
    for record in ("all", "synthetic"):
        artifact = export.export(network(), tmp_path / record, samples=SECRET, record=record, formats="onnx")
        assert artifact.parity["record"] == record
        assert any(name.startswith("real") for name in artifact.parity["recorded"]) == (record == "all")
        assert holds_secret(artifact.path) == (record == "all")
        report = export.verify(artifact.path, device="cpu")
        assert report["weak"] == {} and report["comparisons"][0]["reference"] == "Keras, recorded at export"


@pytest.fixture(scope="module")
def unrecorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unrecorded") / "artifact"
    return export.export(network(), folder, samples=SECRET, record="none")


def test_without_a_record_the_forms_are_compared_with_each_other_and_the_report_says_so(unrecorded):
    folder = unrecorded.path
    assert sorted(path.name for path in folder.iterdir()) == [
        "artifact.json",
        "model.onnx",
        "parity.json",
        "saved_model",
    ]
    assert not holds_secret(folder) and unrecorded.parity["record"] == "none"
    # The proof at export was one against Keras all the same.
    assert unrecorded.parity["comparisons"][0]["reference"] == "Keras" and unrecorded.weak == {}
    report = export.verify(folder, device="cpu")
    pairs = [(c["reference"], c["candidate"]) for c in report["comparisons"] if c["status"] == "compared"]
    assert len(pairs) == 2 and "Keras" not in str(pairs)
    assert "No answers of Keras are recorded" in report["weak"]["logits"]


def test_without_a_record_inputs_are_drawn_as_those_of_the_proof(unrecorded):
    inputs, outputs, tolerance = verification.read_recorded(unrecorded.path, read_manifest(unrecorded.path))
    assert outputs == {} and set(tolerance["floor"]) == {"logits"}
    shapes = {batch["image"].shape[1:] for batch in inputs.values()}
    assert len(shapes) == 2 and all(shape[1:] == (6, 3) for shape in shapes)
    words = np.concatenate([batch["words"].ravel() for batch in inputs.values()])
    assert words.min() == 0 and words.max() == 10


def test_without_a_record_a_form_that_computes_something_else_is_found(unrecorded, tmp_path):
    folder = shutil.copytree(unrecorded.path, tmp_path / "artifact")
    model = onnx.load(folder / "model.onnx")
    (conv,) = (node for node in model.graph.node if node.op_type == "Conv")
    (kernel,) = (constant for constant in model.graph.initializer if constant.name == conv.input[1])
    kernel.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(kernel) * 1.01, kernel.name))
    onnx.save(model, folder / "model.onnx")
    manifest = json.loads((folder / "artifact.json").read_text())
    write_manifest(folder, {key: value for key, value in manifest.items() if key not in ("files", "sha256", "format")})
    with pytest.raises(export.ParityError, match="SavedModel"):
        export.verify(folder, device="cpu")


def test_without_a_record_a_server_is_ready_once_it_runs(unrecorded):
    pytest.importorskip("prometheus_client")
    from export.serving.limits import Limits
    from export.serving.model import Model
    from export.serving.observation import Metrics

    model = Model(unrecorded.path, None, "cpu", Limits(), Metrics())
    assert not model.ready
    model.warm_up()
    assert model.ready


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.pop("inputs"),
        lambda p: p["inputs"]["image"].update(sizes=[[9, 7, 3]]),
        lambda p: p["inputs"]["words"].update(bounds=["few"]),
        lambda p: p.update(allowed={"logits": [-1.0]}),
        lambda p: p.update(allowed=[]),
    ],
    ids=["no inputs", "another size", "no bounds", "a negative difference", "no differences"],
)
def test_what_replaces_a_record_has_a_form(change, unrecorded, tmp_path):
    folder = shutil.copytree(unrecorded.path, tmp_path / "artifact")
    parity = json.loads((folder / "parity.json").read_text())
    change(parity)
    (folder / "parity.json").write_text(json.dumps(parity))
    with pytest.raises(export.VerificationError, match="parity.json to describe the inputs"):
        verification.read_recorded(folder, read_manifest(folder))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"record": "some"}, "Received: record='some'"), ({"record": "none", "formats": "saved_model"}, "saved_model")],
)
def test_other_records_are_refused_before_the_model_is_read(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export.export("no model", tmp_path / "out", **options)
