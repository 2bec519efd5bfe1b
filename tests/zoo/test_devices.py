"""The devices of a training: what is found, what is refused, and how they share a batch. No test needs a GPU."""

import socket
from importlib.util import find_spec

import keras
import numpy as np
import pytest

import zoo
from tests.processes import run_code
from zoo.devices.padding import PaddedBatches
from zoo.devices.selection import select
from zoo.tasks import task_of


def test_report_says_what_computes():
    report = select("cpu").report()
    assert (report["backend"], report["kind"], report["count"]) == (keras.backend.backend(), "cpu", 1)
    assert report["processes"] == 1
    assert report["memory_bytes"] is None or report["memory_bytes"][0] > 2**20


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_wrong_number_of_devices(count):
    with pytest.raises(ValueError, match="Expected devices to be a whole number of at least 1. Received: devices="):
        select("cpu", count)


def test_unknown_device():
    with pytest.raises(ValueError, match="Expected device to be one of auto, cpu, gpu. Received: 'cuda'"):
        select("cuda")


# One process for each backend answers all of them. The GPU is hidden, so that a machine that has one gives the same.
ASK = """
from zoo.devices.selection import select
for device, count in (("gpu", 1), ("cpu", 4), ("cpu", 3)):
    try:
        select(device, count).check(64)
    except ValueError as error:
        print(error)
"""
THREE_DEVICES = """
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
"""


@pytest.mark.parametrize(
    ("backend", "cure"),
    [
        ("tensorflow", 'pip install ".[cuda]"'),
        ("jax", 'pip install ".[jax-cuda]"'),
        pytest.param(
            "torch", "https://pytorch.org", marks=pytest.mark.skipif(not find_spec("torch"), reason="needs torch")
        ),
    ],
)
def test_what_cannot_be_had_is_a_sentence(backend, cure, tmp_path):
    code = THREE_DEVICES * (backend == "tensorflow") + ASK
    said = run_code(code, cwd=tmp_path, KERAS_BACKEND=backend, CUDA_VISIBLE_DEVICES="-1", JAX_NUM_CPU_DEVICES="3")
    no_gpu, too_many, odd_batch = said.splitlines()
    assert no_gpu.startswith("Expected a GPU for device='gpu'. Received: none that") and cure in no_gpu
    if backend == "torch":
        assert too_many.startswith("Expected devices=1 on Keras's torch backend")
    else:
        assert too_many.lower().startswith("expected 4 devices of kind cpu. received: 3, ")
        assert odd_batch.endswith("a multiple of the 3 devices that share each batch. Received: batch_size=64")


def test_several_processes_are_for_jax(tmp_path):
    said = run_code(ASK, cwd=tmp_path, KERAS_BACKEND="tensorflow", KERAS_DISTRIBUTION_NUM_PROCESSES="2")
    assert said.startswith("Expected the JAX backend for several processes. Received: tensorflow")


def test_a_task_of_slurm_has_all_gpus_of_its_host(tmp_path):
    """JAX alone would show it the one whose number is SLURM_LOCALID."""
    code = "import jax; from zoo.devices.selection import select; select('cpu')"
    code += "; print(jax.config.values['jax_cuda_visible_devices'])"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    slurm = {name: "0" for name in ("SLURM_JOB_ID", "SLURM_PROCID", "SLURM_LOCALID")}
    slurm |= {"SLURM_NTASKS": "1", "SLURM_STEP_NODELIST": "node1"}
    ours = {"JOB_ADDRESSES": address, "NUM_PROCESSES": "1", "PROCESS_ID": "0"}
    variables = slurm | {f"KERAS_DISTRIBUTION_{name}": value for name, value in ours.items()}
    assert run_code(code, cwd=tmp_path, KERAS_BACKEND="jax", **variables) == "all\n"


def shares(devices, **options):
    digits = zoo.load_source("digits")
    batches = zoo.Batches(digits.test_inputs[:13], digits.test_targets[:13], 10, digits.preprocessing, 8, **options)
    return batches, PaddedBatches(batches, devices)


def test_full_batch_is_handed_on_as_it_is():
    batches, shared = shares(4)
    assert len(shared) == 2
    for array, other in zip(shared[0], (*batches[0], np.ones(8)), strict=True):
        np.testing.assert_array_equal(array, other)


def test_last_batch_is_filled_with_copies_that_weigh_nothing():
    batches, shared = shares(4)
    images, labels, weights = shared[1]
    assert len(images) == len(labels) == 8
    np.testing.assert_array_equal(images[5:], batches[1][0][:3])
    np.testing.assert_array_equal(labels[5:], batches[1][1][:3])
    np.testing.assert_array_equal(weights, [1, 1, 1, 1, 1, 0, 0, 0])


def test_weights_of_training_keep_the_mean():
    _, shared = shares(4, seed=0)
    *_, weights = shared[1]
    np.testing.assert_allclose(weights, [1.6] * 5 + [0] * 3)
    np.testing.assert_array_equal(shared[0][2], np.ones(8))


def test_every_process_gets_as_many_and_together_they_have_every_example():
    whole, _ = shares(4, seed=0)
    parts = [shares(8, seed=0, shard=(rank, 4))[1][1] for rank in range(4)]
    assert {len(images) for images, _, _ in parts} == {2}
    real = np.concatenate([images[weights > 0] for images, _, weights in parts])
    np.testing.assert_array_equal(real, whole[1][0])
    assert sum(weights.sum() for _, _, weights in parts) == pytest.approx(8)


def test_position_moves_the_last_batch():
    batches, shared = shares(4)
    batches.position = (0, 1)
    assert len(shared) == 1
    assert shared[0][2].sum() == 5


def test_figures_of_masks_are_those_of_the_batch_without_copies():
    from tests.zoo.task_runs import digit_masks

    source = digit_masks()
    images, masks = source.test_inputs[:5], source.test_targets[:5]
    batches = zoo.Batches(images, masks, 2, source.preprocessing, 8, task="segmentation")
    _, padded, weights = PaddedBatches(batches, 4)[0]
    assert padded.shape == (8, 8, 8) and weights.shape == (8, 1, 1)
    logits = np.random.default_rng(0).normal(size=(8, 8, 8, 2)).astype("float32")
    for alone, shared in zip(*(task_of(source).metrics(source) for _ in range(2)), strict=True):
        alone.update_state(masks.astype("int32"), logits[:5])
        shared.update_state(padded, logits, weights)
        assert float(shared.result()) == pytest.approx(float(alone.result()), rel=1e-6)
