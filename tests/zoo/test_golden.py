"""Networks that read the weights of other libraries give the same outputs, and have as many parameters."""

import keras
import numpy as np
import pytest

import zoo
from tests.golden import read_reference, state, write
from zoo.networks.counting import count

# The name of the reference, and the network and its arguments that it belongs to.
NETWORKS = {
    "torchvision_resnet18": ("resnet18", {}),
    "torchvision_resnet50": ("resnet50", {}),
    "torchvision_densenet121": ("densenet121", {}),
    "torchvision_r3d_18": ("r3d_18", {}),
    "torchvision_convnext_tiny": ("convnext_tiny", {}),
    "rtdl_resnet": ("tabular_resnet", {"depth": 3, "width": 24}),
    "tcn_skip": (
        "tcn",
        {
            "features_only": True,
            "filters": (8, 8, 16),
            "kernel_size": 3,
            "normalization": "batch",
            "skip_connections": True,
        },
    ),
    "timm_resnext50_32x4d": ("resnext50_32x4d", {}),
    "timm_seresnet50": ("seresnet50", {}),
    "timm_resnet50d": ("resnet50d", {}),
    "smp_unet_resnet18": ("unet", {"backbone": "resnet18"}),
}
UNTRAINED = ("running_mean", "running_var", "num_batches_tracked", "buffer")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_those_of_the_reference(name, suffix, tmp_path):
    reference = read_reference(name)
    network, arguments = NETWORKS[name]
    x = np.moveaxis(reference.x, 1, -1)
    path = write(state(reference.shapes), tmp_path / f"weights{suffix}")
    model = zoo.load(network, weights=path, input_shape=x.shape[1:], **arguments)
    path.unlink()
    trained = sum(int(np.prod(shape)) for name, shape in reference.shapes.items() if not name.endswith(UNTRAINED))
    assert count(model.trainable_variables) == trained
    outputs = model(x, training=False)
    received = keras.ops.convert_to_numpy(outputs["C0"] if isinstance(outputs, dict) else outputs)
    expected = np.moveaxis(reference.y, 1, -1)
    assert received.shape == expected.shape
    assert np.abs(received - expected).max() <= 1e-5 * np.abs(expected).max()
