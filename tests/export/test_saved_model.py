import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import export
from tests.export.models import conv_net, images, mlp, subclassed


@pytest.mark.parametrize("make", [mlp, subclassed])
def test_the_reloaded_model_computes_the_same_on_any_batch(make, tmp_path):
    model = make()
    path = export.to_saved_model(model, tmp_path / "saved")
    reloaded = tf.saved_model.load(str(path))
    for batch in (1, 5):
        x = np.random.default_rng(batch).normal(size=(batch, 6)).astype("float32")
        np.testing.assert_allclose(reloaded.serve(x)["output"], model(x), rtol=1e-5, atol=1e-6)
    assert [p.name for p in tmp_path.iterdir()] == ["saved"]


def test_raw_input_goes_in_and_probabilities_come_out(tmp_path, capfd):
    model, raw = conv_net(size=None), export.Preprocessing("uint8", scale=1 / 255, mean=0.5)
    path = export.to_saved_model(model, tmp_path / "saved", preprocessing=raw, activation="sigmoid")
    assert "Saved artifact" not in capfd.readouterr().out
    reloaded = tf.saved_model.load(str(path))
    for size in (8, 13):
        x = images(3, size)
        served = reloaded.signatures["serving_default"](input=tf.constant(x))["probabilities"]
        np.testing.assert_allclose(served, ops.sigmoid(model(raw.apply(x))), atol=1e-6)


def test_only_a_saved_model_is_overwritten(tmp_path):
    path = tmp_path / "saved"
    export.to_saved_model(mlp(), path)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        export.to_saved_model(mlp(), path)
    export.to_saved_model(conv_net(), path, overwrite=True)
    reloaded = tf.saved_model.load(str(path))
    assert reloaded.serve(np.zeros((1, 8, 8, 3), "float32"))["output"].shape == (1, 4)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="something else"):
        export.to_saved_model(mlp(), tmp_path / "home", overwrite=True)
    assert (tmp_path / "home" / "letter.txt").read_text() == "precious"
    (path / "variables" / "letter.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="something else"):
        export.to_saved_model(mlp(), path, overwrite=True)
    assert (path / "variables" / "letter.txt").read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home", "saved"]
