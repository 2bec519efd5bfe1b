import onnx
import pytest

import export
from tests.export.models import conv_net


def test_everything_about_an_artifact_is_there(artifact):
    found = export.inspect(artifact, batch_size=2, runs=3)
    assert found["inputs"] == [{"name": "input", "dtype": "uint8", "shape": ["batch", 8, 8, 3]}]
    assert found["outputs"] == [{"name": "probabilities", "dtype": "float32", "shape": ["batch", 4]}]
    assert found["bytes"] == (artifact / "model.onnx").stat().st_size
    nodes = onnx.load(artifact / "model.onnx").graph.node
    assert sum(o["count"] for o in found["operations"]) == len(nodes)
    assert found["batch"] == {"input": [2, 8, 8, 3]} and found["milliseconds"] > 0
    assert {"Softmax", "GlobalAveragePool"} <= {k["name"] for k in found["kernels"]}
    assert sum(k["share"] for k in found["kernels"]) == pytest.approx(1)
    assert found["kernels"] == sorted(found["kernels"], key=lambda k: -k["microseconds"])


def test_a_bare_file_with_dynamic_sizes(tmp_path):
    path = export.to_onnx(conv_net(size=None), tmp_path / "m.onnx")
    assert export.inspect(path, runs=1, size=11)["batch"] == {"input": [1, 11, 11, 3]}


@pytest.mark.parametrize("arguments", [{"runs": 0}, {"batch_size": 0}, {"device": "tpu"}])
def test_arguments_out_of_range_are_refused(arguments, artifact):
    with pytest.raises(ValueError, match="Received: (runs|batch_size|device)="):
        export.inspect(artifact, **arguments)


def test_an_input_beyond_all_measure_is_refused(artifact):
    with pytest.raises(export.VerificationError, match="at most 268435456 elements"):
        export.inspect(artifact, batch_size=2**40)
