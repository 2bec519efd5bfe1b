"""The files that train on a cluster: what Slurm and Kubernetes read of them, and what `keras-skip` then sees."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kubeflow_trainer_api.models.jobset_v1alpha2_job_set import JobsetV1alpha2JobSet

import zoo
from tests.test_pages import parse

FILES = Path(__file__).parents[2] / "docs" / "howto" / "files"
SLURM = {
    "SLURM_JOB_ID": "4012345",
    "SLURM_JOB_NODELIST": "gpu[07-08]",
    "SLURM_NTASKS": "2",
    "SLURM_GPUS_ON_NODE": "8",
}
# Each notes its arguments and what it was started with.
COMMANDS = {
    "keras-skip": "",
    "scontrol": "if sys.argv[1:3] == ['show', 'hostnames']: print('gpu07', 'gpu08', sep='\\n')",
    "scancel": "os.kill(int(open('srun').read()), signal.SIGTERM)",
    # Its tasks run until they are stopped, if the test says so.
    "srun": """
open("srun", "w").write(str(os.getpid()))
rest = sys.argv[1:]
while rest[0].startswith("--"):
    del rest[0]
for rank in range(int(os.environ["SLURM_NTASKS"])):
    subprocess.run(rest, env=os.environ | {"SLURM_PROCID": str(rank)}, check=True)
if "LONG" in os.environ:
    signal.signal(signal.SIGTERM, lambda *ignored: sys.exit(143))
    print("running", flush=True)
    signal.pause()
""",
}


@pytest.fixture
def shell(tmp_path):
    """Starts a program among commands that only take notes; `notes` are those of one command."""
    (tmp_path / "bin").mkdir()
    for name, does in COMMANDS.items():
        note = "import json, os, signal, subprocess, sys\n"
        note += f"with open({name!r} + '.notes', 'a') as file:\n"
        note += "    file.write(json.dumps([sys.argv[1:], dict(os.environ)]) + '\\n')\n"
        path = tmp_path / "bin" / name
        path.write_text(f"#!{sys.executable}\n{note}{does}\n")
        path.chmod(0o755)

    started = []

    def start(*command, **variables):
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        variables = os.environ | {"PATH": path} | variables
        started.append(subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=subprocess.PIPE, text=True))
        return started[-1]

    def notes(name):
        path = tmp_path / f"{name}.notes"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    start.notes = notes
    yield start
    for process in started:
        process.kill()
        process.communicate()


def assert_is_understood(arguments):
    parse(" ".join(["keras-skip", *arguments]))
    if "--resume" not in arguments:
        zoo.get_recipe(arguments[1])


def assert_joins(variables, address, count, rank):
    assert variables["KERAS_BACKEND"] == "jax"
    assert variables["KERAS_DISTRIBUTION_JOB_ADDRESSES"] == address
    assert variables["KERAS_DISTRIBUTION_NUM_PROCESSES"] == count
    assert variables["KERAS_DISTRIBUTION_PROCESS_ID"] == rank


@pytest.mark.parametrize("again", [False, True])
def test_every_task_of_slurm_trains_or_resumes(again, shell, tmp_path):
    if again:
        (tmp_path / "runs" / "resnet50").mkdir(parents=True)
        (tmp_path / "runs" / "resnet50" / "run.json").touch()
    script = shell("bash", FILES / "train.slurm", **SLURM)
    script.communicate(timeout=60)
    assert script.returncode == 0
    for rank, (arguments, variables) in enumerate(shell.notes("keras-skip")):
        assert_joins(variables, "gpu07:22345", "2", str(rank))
        assert arguments[-2:] == (["--resume", "runs/resnet50"] if again else ["--out", "runs/resnet50"])
        assert again or arguments[arguments.index("--devices") + 1] == "8"
        assert_is_understood(arguments)
    assert len(shell.notes("keras-skip")) == 2
    assert not [arguments for arguments, _ in shell.notes("scontrol") if arguments[0] == "requeue"]


def test_a_failed_task_fails_the_job_of_slurm(shell, tmp_path):
    (tmp_path / "bin" / "keras-skip").write_text("#!/bin/sh\nexit 1\n")
    script = shell("bash", FILES / "train.slurm", **SLURM)
    script.communicate(timeout=60)
    assert script.returncode == 1


def test_before_the_time_limit_the_tasks_of_slurm_stop_and_the_job_queues_again(shell):
    script = shell("bash", FILES / "train.slurm", **SLURM, LONG="1")
    assert script.stdout.readline() == "running\n"
    script.send_signal(signal.SIGUSR1)
    script.communicate(timeout=60)
    assert script.returncode == 143
    assert [arguments for arguments, _ in shell.notes("scancel")] == [["--signal=TERM", "4012345"]]
    assert shell.notes("scontrol")[-1][0] == ["requeue", "4012345"]


def test_slurm_understands_the_options_of_the_script():
    lines = (FILES / "train.slurm").read_text().splitlines()
    options = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")]
    # One process for each host, which has all of its GPUs.
    assert "--ntasks-per-node=1" in options
    assert "--signal=B:USR1@300" in options
    # Slurm reads no option after the first command.
    assert lines.index("set -euo pipefail") > max(lines.index(f"#SBATCH {option}") for option in options)


@pytest.fixture(scope="module")
def manifest():
    return yaml.safe_load((FILES / "jobset.yaml").read_text())


def test_the_manifest_has_the_fields_of_a_jobset(manifest):
    """Unknown fields would be missing in what the models of its schema give back; wrong types raise an error."""
    assert manifest["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
    assert JobsetV1alpha2JobSet.from_dict(manifest).to_dict() == manifest


@pytest.mark.parametrize("again", [False, True])
def test_every_pod_of_the_jobset_trains_or_resumes(again, manifest, shell, tmp_path):
    (job,) = manifest["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    variables = {item["name"]: item.get("value") for item in container["env"]}
    # Kubernetes: a pod of an indexed job has its number in this annotation.
    assert spec["completionMode"] == "Indexed" and spec["parallelism"] == spec["completions"]
    (rank,) = [item["valueFrom"]["fieldRef"]["fieldPath"] for item in container["env"] if "valueFrom" in item]
    assert rank == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    variables |= {"KERAS_DISTRIBUTION_PROCESS_ID": "3", "RUN": str(tmp_path / "run")}
    if again:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "run.json").touch()
    started = shell(*container["command"], *container["args"], **variables)
    started.communicate(timeout=60)
    assert started.returncode == 0
    ((arguments, seen),) = shell.notes("keras-skip")
    # JobSet: NAME-JOB-JOBINDEX-PODINDEX.NAME.
    name = manifest["metadata"]["name"]
    address = f"{name}-{job['name']}-0-0.{name}:{container['ports'][0]['containerPort']}"
    assert_joins(seen, address, str(spec["completions"]), "3")
    assert arguments[-2] == ("--resume" if again else "--out") and arguments[-1] == str(tmp_path / "run")
    assert again or arguments[arguments.index("--devices") + 1] == container["resources"]["limits"]["nvidia.com/gpu"]
    assert_is_understood(arguments)
