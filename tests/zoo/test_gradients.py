"""The norms of gradients: those of the tape, on a network that stays as it is, in a table and in a figure."""

from dataclasses import replace

import keras
import numpy as np
import pytest

import zoo
from zoo.analysis import charts
from zoo.analysis.gradients import Norm, by_network, compare, probe_batches, read, write

LABELS = np.eye(10, dtype="float32")[np.arange(16) % 10]
IMAGES = np.random.default_rng(0).normal(size=(16, 8, 8, 1)).astype("float32")
pytestmark = pytest.mark.usefixtures("no_report")


@pytest.fixture(scope="module")
def run(small_source, tmp_path_factory):
    """A run on digits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoo.training.loop.write_report", lambda *ignored: None)
        out = tmp_path_factory.mktemp("runs") / "run"
        return zoo.train("plain_mlp_digits", small_source, out, epochs=1, **{"arguments.depth": 4})


def weights(model):
    return [keras.ops.convert_to_numpy(v) for v in model.variables]


def test_norms_are_those_of_the_tape_and_nothing_moves():
    import tensorflow as tf

    model = zoo.build("resnet20", (8, 8, 1), depth=8, weight_decay=0.1)
    before = weights(model)
    norms = zoo.GradientProbe(model).measure(IMAGES, LABELS, step=7)
    for ours, theirs in zip(weights(model), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with tf.GradientTape() as tape:
        losses = keras.losses.categorical_crossentropy(LABELS, model(IMAGES, training=True), from_logits=True)
        loss = tf.reduce_mean(losses)
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    squares = {}
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        layer = variable.path.split("/")[0]  # resnet20 has no block within a block
        if variable.name == "kernel":
            squares[layer] = squares.get(layer, 0) + float(tf.reduce_sum(gradient**2))
    assert [norm.layer for norm in norms] == list(squares)
    assert [norm.place for norm in norms] == list(range(1, len(squares) + 1))
    assert {(norm.network, norm.step) for norm in norms} == {("resnet8", 7)}
    np.testing.assert_allclose([norm.norm for norm in norms], np.sqrt(list(squares.values())), rtol=1e-4)


def test_probe_sees_the_present_weights():
    model = zoo.build("plain_mlp", (8, 8, 1), depth=4)
    probe = zoo.GradientProbe(model)
    first = probe.measure(IMAGES, LABELS)
    for variable in model.trainable_variables:
        variable.assign(variable.value * 0.5)
    second = probe.measure(IMAGES, LABELS)
    assert all(b.norm < a.norm for a, b in zip(first, second, strict=True))


def test_probe_keeps_the_statistics_by_which_a_model_scales_its_inputs():
    x = keras.Input((8, 8, 1))
    scaling = keras.layers.Normalization()
    model = keras.Model(x, keras.layers.Dense(10)(keras.layers.Flatten()(scaling(x))))
    scaling.adapt(5 + 3 * IMAGES)
    (scaled,) = zoo.GradientProbe(model).measure(5 + 3 * IMAGES, LABELS)
    without = keras.Model(model.layers[2].input, model.output)
    (expected,) = zoo.GradientProbe(without).measure(scaling(5 + 3 * IMAGES), LABELS)
    assert scaled.norm == pytest.approx(expected.norm, rel=1e-4)


@pytest.mark.parametrize("once", [False, True])
def test_dropped_blocks_have_no_gradient(once):
    model = zoo.build("stochastic_resnet32", (8, 8, 1), depth=8, survival_prob=0.001)
    norms = {norm.layer: norm.norm for norm in zoo.GradientProbe(model, once=once).measure(IMAGES, LABELS)}
    assert norms["stage3_block1"] == 0
    assert norms["stem_conv"] > 0
    assert norms["head"] > 0


def test_sigmoids_lose_the_gradient_unless_gates_carry_it():
    """The derivative of a sigmoid is 1/4 at most, and so is what each plain layer lets through."""

    def reach(network, activation):
        arguments = {"depth": 30, "activation": activation}
        norms = compare([network], zoo.load_source("digits"), arguments=arguments)
        assert all(norm.norm > 0 for norm in norms), "what has vanished is small, not nothing"
        return norms[0].norm / norms[-1].norm

    assert reach("plain_mlp", "sigmoid") < 4.0**-20
    assert reach("highway_mlp", "sigmoid") > 1e-4
    # He's initialisation keeps the gradient through plain layers of rectifiers.
    assert reach("plain_mlp", "relu") > 0.1


def test_flow_of_a_training_disturbs_nothing_and_goes_on(tmp_path):
    source = zoo.load_source("digits")
    batches = zoo.Batches(source.train_inputs, source.train_targets, 10, source.preprocessing, 64)
    settings = {"recipe": "highway_mlp_digits", "epochs": 2, "batch_size": 256, "arguments.depth": 4}
    plain = zoo.train(**settings, out=tmp_path / "plain")
    path = tmp_path / "gradients.csv"

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.optimizer.iterations) == 9:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flow = zoo.GradientFlow(path, batches, every=4)
        stops = [flow, Stop()]
        zoo.train(**settings, out=tmp_path / "run", callbacks=stops)
    assert sorted({norm.step for norm in read(path)}) == [0, 4, 8]
    run = zoo.resume(tmp_path / "run", callbacks=[zoo.GradientFlow(path, batches, every=4)])
    assert sorted({norm.step for norm in read(path)}) == [0, 4, 6, 8, 12]
    assert len(by_network(read(path))["highway_mlp"]) == 5 * 4
    for ours, theirs in zip(zoo.load(run.path).get_weights(), zoo.load(plain.path).get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_flow_of_a_new_training_replaces_what_is_there(tmp_path):
    source = zoo.load_source("digits")
    flow = zoo.GradientFlow(tmp_path / "gradients.csv", probe_batches(source, source.preprocessing, 0))
    write(flow.path, [Norm("another", step, 1, "head", 1.0) for step in (0, 200)])
    model = zoo.build("plain_mlp", (8, 8, 1), depth=4)
    model.compile(optimizer="sgd", loss="mse")
    flow.set_model(model)
    flow.on_train_begin()
    assert {(norm.network, norm.step) for norm in read(flow.path)} == {(model.name, 0)}


@pytest.mark.parametrize("every", [0, 2.5, True])
def test_wrong_interval_is_a_sentence(every, tmp_path):
    with pytest.raises(ValueError, match="Expected every to be a whole number of at least 1. Received: every="):
        zoo.GradientFlow(tmp_path / "gradients.csv", None, every=every)


def test_figure_draws_the_table(tmp_path):
    norms = compare(["plain_mlp", "dense_mlp"], zoo.load_source("digits"), arguments={"depth": 5})
    write(tmp_path / "norms.csv", norms)
    assert read(tmp_path / "norms.csv") == norms
    figure = charts.gradient_flow(norms)
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    assert axes.get_xlabel() and axes.get_ylabel() and axes.get_title()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["plain_mlp", "dense_mlp"]
    for line, points in zip(axes.lines, by_network(norms).values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [point.place for point in points])
        np.testing.assert_array_equal(line.get_ydata(), [point.norm for point in points])
    charts.save(figure, tmp_path / "a.svg")
    charts.save(figure, tmp_path / "b.svg")
    assert "plain_mlp" in (tmp_path / "a.svg").read_text()
    with pytest.raises(ValueError, match=r"Expected a file that ends in .svg, .png, .pdf. Received: "):
        charts.save(figure, tmp_path / "figure.gif")


def test_images_that_do_not_fit_are_a_sentence(run):
    source = zoo.load_source("digits")
    assert {norm.network for norm in compare([str(run.path)], source)} == {"run"}
    with pytest.raises(ValueError, match="Did you mean plain_mlp"):
        compare(["plain_mpl"], source)
    wide = np.zeros((20, 9, 9, 1), "uint8")
    labels = np.arange(20) % 10
    other = zoo.Source("wide", wide, labels, wide, labels, source.class_names, source.preprocessing)
    with pytest.raises(ValueError, match=r"Expected images of shape \(8, 8, 1\) .* Received: wide, "):
        compare([str(run.path)], other)


def test_seed_is_that_of_new_weights_alone(run):
    source = zoo.load_source("digits")
    first, second = (compare([str(run.path), "plain_mlp"], source, 64, seed) for seed in (0, 1))
    trained = [[norm.norm for norm in norms if norm.network == "run"] for norms in (first, second)]
    assert trained[0] == pytest.approx(trained[1], rel=1e-4)
    new = [[norm.norm for norm in norms if norm.network == "plain_mlp"] for norms in (first, second)]
    assert new[0] != pytest.approx(new[1], rel=1e-2)


def test_trained_network_sees_the_images_as_its_run_saw_them(run):
    source = zoo.load_source("digits")
    other = replace(source, preprocessing=zoo.Preprocessing(1.0, (0.0,), (1.0,)))
    first, second = (compare([str(run.path)], data, 64) for data in (source, other))
    assert [norm.norm for norm in second] == pytest.approx([norm.norm for norm in first], rel=1e-4)


def test_gradients_are_recorded_beside_moving_averages(tmp_path):
    settings = {"epochs": 1, "batch_size": 256, "gradients": 3, "arguments.depth": 4}
    plain = zoo.train("plain_mlp_digits", out=tmp_path / "plain", **settings)
    averaged = zoo.train("plain_mlp_digits", out=tmp_path / "averaged", **settings, **{"optimizer.ema": 0.9})
    assert (averaged.path / "gradients.csv").read_text() == (plain.path / "gradients.csv").read_text()
