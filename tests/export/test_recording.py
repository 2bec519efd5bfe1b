"""parity.json and samples.npz as others may have edited them."""

import json

import numpy as np
import pytest

import export
from export import verification
from export.storage.agreement import check_batch
from export.storage.manifest import read_manifest

RECORDS = {
    "no comparisons": lambda p: p.pop("comparisons"),
    "none": lambda p: p.update(comparisons=[]),
    "text": lambda p: p.update(comparisons="text"),
    "no tolerance": lambda p: p["comparisons"][0].pop("atol"),
    "a tolerance of text": lambda p: p["comparisons"][0].update(atol="much"),
    "a tolerance without end": lambda p: p["comparisons"][0].update(atol=float("inf")),
    "a tolerance that is no number": lambda p: p["comparisons"][0].update(rtol=float("nan")),
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
