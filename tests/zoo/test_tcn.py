"""The temporal convolutional network: the equations of its paper, dropout, weights under the names of the authors."""

import numpy as np
import pytest

import zoo
from tests.export.models import randomise
from tests.golden import write
from tests.zoo.small_inputs import make_inputs
from tests.zoo.test_sequence_networks import BUILDERS, causal, numpy


@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
def test_tcn_computes_the_papers_equations(normalization):
    widths = (4, 4, 6)
    model = BUILDERS["tcn"]((20, 3), classes=5, normalization=normalization, skip_connections=True)
    held = {variable.path: numpy(variable).astype("float64") for variable in randomise(model).weights}

    def norm(x, name):
        if normalization is None:
            return x
        mean, variance = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
        if normalization == "batch":
            mean, variance = held[f"{name}/moving_mean"], held[f"{name}/moving_variance"]
        return held[f"{name}/gamma"] * (x - mean) / np.sqrt(variance + 1e-5) + held[f"{name}/beta"]

    def project(x, width, name):
        return x if x.shape[1] == width else x @ held[f"{name}/kernel"][0] + held[f"{name}/bias"]

    series = make_inputs(model)
    x, updates = series[0].astype("float64"), []
    for block, (width, rate) in enumerate(zip(widths, (1, 2, 4), strict=True), 1):
        u = x
        for place in (1, 2):
            conv = f"block{block}_conv{place}"
            u = causal(u, held[f"{conv}/kernel"], held[f"{conv}/bias"], rate)
            u = np.maximum(norm(u, f"block{block}_norm{place}"), 0)
        updates.append(u)
        x = np.maximum(project(x, width, f"block{block}_projection") + u, 0)
    skips = sum(project(u, widths[-1], f"skip{block}_projection") for block, u in enumerate(updates[:-1], 1))
    expected = np.maximum(x + skips, 0)[-1] @ held["head/kernel"] + held["head/bias"]
    np.testing.assert_allclose(numpy(model(series))[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", ["linear", "decoder"])
def test_weights_of_the_authors_tcn(head, tmp_path):
    # In their code a block holds its convolutions a second time, in `net`; the heads are those for MNIST and for text.
    rng, arrays = np.random.default_rng(0), {}
    for block, (channels, width) in enumerate([(2, 4), (4, 4)]):
        for conv, place, inputs in (("conv1", 0, channels), ("conv2", 4, width)):
            g, v, bias = (
                rng.normal(size=shape).astype("float32") for shape in ((width, 1, 1), (width, inputs, 3), width)
            )
            for name in (conv, f"net.{place}"):
                held = {"weight_g": g, "weight_v": v, "bias": bias}
                arrays |= {f"tcn.network.{block}.{name}.{part}": array.copy() for part, array in held.items()}
    arrays["tcn.network.0.downsample.weight"] = rng.normal(size=(4, 2, 1)).astype("float32")
    arrays["tcn.network.0.downsample.bias"] = rng.normal(size=4).astype("float32")
    arrays[f"{head}.weight"] = rng.normal(size=(5, 4)).astype("float32")
    arrays[f"{head}.bias"] = rng.normal(size=5).astype("float32")
    path = write(arrays, tmp_path / "weights.safetensors")
    model = zoo.load("tcn", weights=path, input_shape=(20, 2), filters=(4, 4), kernel_size=3)
    held = {variable.path: numpy(variable) for variable in model.weights}
    assert len(held) == 2 * 4 + 2 + 2
    g, v = (arrays[f"tcn.network.1.conv2.weight_{part}"] for part in "gv")
    kernel = (v / np.sqrt((v**2).sum(axis=(1, 2), keepdims=True)) * g).transpose(2, 1, 0)
    np.testing.assert_allclose(held["block2_conv2/kernel"], kernel, rtol=1e-5)
    np.testing.assert_array_equal(held["block1_projection/bias"], arrays["tcn.network.0.downsample.bias"])
    np.testing.assert_array_equal(held["head/kernel"], arrays[f"{head}.weight"].T)


def test_tcn_drops_after_both_activations_of_each_block():
    layers = [layer for layer in BUILDERS["tcn"]((20, 3), dropout=0.1).layers if getattr(layer, "rate", None) == 0.1]
    before = [layer.input._keras_history.operation.name for layer in layers]
    assert before == [f"block{block}_activation{place}" for block in (1, 2, 3) for place in (1, 2)]
