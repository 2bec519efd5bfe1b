import json

import numpy as np
import onnx
import pytest

import export
from export.inspection import BETWEEN, _scale_times
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
    assert sum(k["microseconds"] for k in found["kernels"]) == pytest.approx(1000 * found["milliseconds"])
    assert found["kernels"] == sorted(found["kernels"], key=lambda k: -k["microseconds"])


def test_times_are_medians_of_warm_runs(monkeypatch, tmp_path):
    """Of runs of 1000, 900, 3, 5 and 4 us, the first two are for warming up; the second kernel takes 1 us of each."""
    from export.runtime import jobs, worker
    from export.storage.arrays import write_batches

    times, events = iter([1000, 900, 3, 5, 4] * 2), []

    class Session:
        def run(self, *arguments):
            start, duration = (events[-1]["ts"] + 1e4 if events else 0), next(times)
            for name, from_start, spent in (("MatMul", 0, duration - 2), ("Relu", duration - 2, 1)):
                node = {"cat": "Node", "name": f"{name}_1_kernel_time", "args": {"op_name": name}}
                events.append(node | {"ts": start + from_start, "dur": spent})
            events.append({"cat": "Session", "name": "model_run", "ts": start, "dur": duration})
            now[0] += duration / 1e6
            return []

        def get_outputs(self):
            return []

        def end_profiling(self):
            # What ran before the profiler did is not in its file.
            (tmp_path / "profile.json").write_text(json.dumps(events[15:]))
            return str(tmp_path / "profile.json")

    now = [0.0]
    monkeypatch.setattr(jobs, "open_session", lambda *arguments, **options: Session())
    monkeypatch.setattr(jobs.time, "perf_counter", lambda: now[0])
    write_batches(tmp_path / worker.INPUTS, {"": {"x": np.zeros(1)}})
    jobs.profile(tmp_path, tmp_path / "answer", "model.onnx", "CPUExecutionProvider", runs=3)
    measured = json.loads((tmp_path / "answer").read_text())
    assert measured["milliseconds"] == pytest.approx(0.004) and measured["profiled"] == 4
    assert [k["microseconds"] for k in measured["kernels"]] == [2, 1]
    kernels = _scale_times(measured["kernels"], measured["profiled"], 0.008)
    assert [(k["name"], k["microseconds"], k["share"]) for k in kernels] == [
        ("MatMul", pytest.approx(4), 0.5),
        ("Relu", pytest.approx(2), 0.25),
        (BETWEEN, pytest.approx(2), 0.25),
    ]


def test_parts_never_exceed_the_whole():
    kernels = _scale_times(
        [{"name": "If", "count": 1, "microseconds": 6}, {"name": "Add", "count": 1, "microseconds": 4}], 8, 1
    )
    assert [k["share"] for k in kernels] == [0.6, 0.4, 0]
    assert sum(k["microseconds"] for k in kernels) == pytest.approx(1000)


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
