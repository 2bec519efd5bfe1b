"""Surgery on every form of skip: nothing changes but what was asked for."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_skip as ks
from keras_skip.surgery.functions import twice_sigmoid
from tests.layers.forms import FORMS, Closed, assert_equal, half, identity, inputs, numpy, outputs, projection, several
from tests.sweep import sweep

EDITS = {
    "sample": lambda model: ks.add_stochastic_depth(model, 0.5),
    "batch": lambda model: ks.add_stochastic_depth(model, 0.5, "batch"),
    "scale": ks.add_layer_scale,
    "attention": lambda model: ks.add_squeeze_excite(model, ratio=2),
}


# JAX compiles each operation of each model.
IN_SHORT = FORMS if keras.backend.backend() == "tensorflow" else ("nested", "masked")
# "batch" takes a branch out of its graph, so every form has it. The others insert a layer, and take turns.
INSERTING = itertools.cycle(edit for edit in EDITS if edit != "batch")
USUAL = [(form, edit) for form in IN_SHORT for edit in ("batch", next(INSERTING))]


@pytest.mark.parametrize("pair", sweep(itertools.product(FORMS, EDITS), lambda pair: pair in USUAL), ids="-".join)
def test_the_skips_of_every_form_are_found_and_inference_stays_the_same_bit_for_bit(pair, tmp_path):
    form, edit = pair
    model, names = FORMS[form]()
    assert ks.list_skips(model) == names
    x = inputs(model)
    before, weights = outputs(model, x), [numpy(v) for v in model.variables]
    operated = EDITS[edit](model)
    assert not operated.compiled and operated.name == model.name
    assert_equal(outputs(operated, x), before)
    assert not {id(v) for v in operated.variables} & {id(v) for v in model.variables}
    operated.save(tmp_path / "model.keras")
    assert_equal(outputs(keras.models.load_model(tmp_path / "model.keras"), x), before)
    for variable in operated.variables:
        variable.assign(ops.zeros_like(variable.value))
    assert_equal(outputs(model, x), before)
    assert_equal([numpy(v) for v in model.variables], weights)


@pytest.mark.once
def test_structure_and_names_stay_and_the_layers_that_are_added_follow_their_branch():
    model, _ = several()
    operated = ks.add_layer_scale(ks.add_stochastic_depth(model, 0.8))
    assert operated.output.keys() == {"sum", "head"} and set(operated.input) == {"a", "b"}
    added = [layer.name for layer in operated.layers if layer.name not in {x.name for x in model.layers}]
    assert added == ["sum_scale", "sum_drop"]
    # The drop stays the last, where the next surgery finds it.
    assert operated.get_layer("sum_drop").input is operated.get_layer("sum_scale").output
    again = ks.add_layer_scale(operated, init=0.5, axis=None)
    assert again.get_layer("sum_scale_2").gamma.shape == () and again.get_layer("sum_scale").gamma.shape == (4,)


@pytest.mark.once
def test_the_gate_of_the_attention_starts_at_one_and_lies_between_zero_and_two():
    np.testing.assert_array_equal(numpy(twice_sigmoid(np.array([-200.0, 0.0, 200.0], "float32"))), [0, 1, 2])
    model, _ = projection()
    layer = ks.add_squeeze_excite(model, ratio=2, data_format="channels_last").get_layer("sum_attention")
    assert (layer.reduce.units, np.abs(numpy(layer.expand.kernel)).max()) == (2, 0)
    assert np.abs(numpy(layer.reduce.kernel)).min() > 0


@pytest.mark.parametrize("edit", ["scale", "attention"])
def test_masked_steps_keep_their_outputs_too(edit):
    tokens = keras.Input((5,), dtype="int32")
    x = L.Embedding(9, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, L.Add()([x, L.Dense(4, bias_initializer="ones")(x)]))
    given = inputs(model)
    assert (given == 0).any()
    assert_equal(outputs(EDITS[edit](model), given), outputs(model, given))


@pytest.mark.once
def test_layers_that_are_added_compute_in_the_type_of_their_branch():
    model, _ = half()
    layer = ks.add_layer_scale(model).get_layer("sum_scale")
    assert (layer.compute_dtype, layer.gamma.dtype) == ("bfloat16", "float32")
    assert ks.add_stochastic_depth(model, 0.5, "batch").get_layer("sum_drop").compute_dtype == "bfloat16"


@pytest.mark.once
def test_what_is_frozen_stays_frozen():
    x = keras.Input((4, 4, 4))
    block = ks.ResidualBlock(4)
    y = block(x)
    model = keras.Model(x, L.Add(name="sum")([y, L.Conv2D(4, 1, name="conv")(L.Conv2D(4, 1, name="free")(y))]))
    block.norm1.trainable = model.get_layer("conv").trainable = False
    operated = ks.add_stochastic_depth(model, 0.5)
    names = [v.path.split("/", 1)[1] for v in operated.trainable_variables]
    assert names == [v.path.split("/", 1)[1] for v in model.trainable_variables] and "norm1/gamma" not in names
    closed = Closed(name="closed")
    model = keras.Model(x, L.Add()([x, closed(x)]))
    closed.inner.trainable = False  # no configuration has this
    assert not ks.add_stochastic_depth(model, 0.5).get_layer("closed").inner.trainable
    inner, _ = identity()
    inner.trainable = False
    x = keras.Input((4,))
    operated = ks.add_layer_scale(keras.Model(x, inner(x)))
    assert not operated.get_layer(inner.name).trainable and not operated.trainable_variables


@pytest.mark.once
def test_shared_layers_stay_shared():
    x = keras.Input((4,))
    shared = L.Dense(4, name="shared")
    y = L.Add(name="one")([x, shared(x)])
    model = keras.Model(x, L.Add(name="two")([y, shared(y)]))
    operated = ks.add_layer_scale(model, axis=None)
    assert_equal(outputs(operated, inputs(model)), outputs(model, inputs(model)))
    assert len(operated.weights) == len(model.weights) + 2
    with pytest.raises(ValueError, match="branch of one, in which shared is also called elsewhere; .*'sample'"):
        ks.add_stochastic_depth(model, 0.5, "batch")


@pytest.mark.once
def test_one_layer_can_make_several_sums():
    y = x = keras.Input((4,))
    add = L.Add(name="sum")
    for name in ("one", "two"):
        y = add([y, L.Dense(4, name=name)(y)])
    model = keras.Model(x, y)
    given = inputs(model)
    for edit in EDITS.values():
        assert_equal(outputs(edit(edit(model)), given), outputs(model, given))
    operated = ks.add_stochastic_depth(model, 0.5)
    assert ks.list_skips(operated) == ["sum", "sum"] and operated.get_layer("sum_drop_2").rate == 0.5
    np.testing.assert_array_equal(outputs(ks.without_branch(model, "sum"), given)[0], given)
    chain = keras.Sequential([model.get_layer("one"), model.get_layer("two")])
    np.testing.assert_allclose(outputs(ks.without_skip(model, "sum"), given)[0], numpy(chain(given)), rtol=1e-5)


@pytest.mark.once
@pytest.mark.parametrize(("is_inside_first", "name"), [(False, "inner/sum"), (True, "around/inner/sum")])
def test_a_model_that_is_called_at_two_levels_is_one(is_inside_first, name):
    block, _ = identity()
    inner = keras.Model(block.input, block.output, name="inner")
    a, x = keras.Input((4,)), keras.Input((4,))
    around = keras.Model(a, inner(a), name="around")
    first, second = (around, inner) if is_inside_first else (inner, around)
    model = keras.Model(x, L.Add(name="outer")([x, second(first(x))]))
    assert ks.list_skips(model) == [name, "outer"]
    given = inputs(model)
    np.testing.assert_array_equal(outputs(ks.without_branch(model, name), given)[0], 2 * given)
    drops = [layer for layer in ks.add_stochastic_depth(model, 0.5)._flatten_layers() if hasattr(layer, "rate")]
    assert sorted(drop.rate for drop in drops) == [0.25, 0.5]


@pytest.mark.once
def test_functions_and_lambda_layers_are_copied():
    x = keras.Input((4, 6))
    branch = ops.transpose(L.Lambda(lambda x: 2 * x)(x)[:, :4], (0, 1, 2))
    model = keras.Model(x, L.Add(name="sum")([x, branch]))
    assert_equal(outputs(ks.add_layer_scale(model), inputs(model)), outputs(model, inputs(model)))


@pytest.mark.parametrize("form", ["projection", "three", "nested", "long"])
def test_without_a_skip_or_a_branch_the_sum_gives_the_rest(form):
    model, names = FORMS[form]()
    x = inputs(model)
    find = model if form != "nested" else model.get_layer("inner")
    graph = keras.Model(find.input, find.get_layer("sum").input)
    terms = [numpy(term) for term in graph(x)]
    skip = {"projection": 0, "three": 1, "nested": 1, "long": 1}[form]
    branches = sum(term for place, term in enumerate(terms) if place != skip)
    for edit, expected in ((ks.without_skip, branches), (ks.without_branch, terms[skip])):
        operated = edit(model, names[-1] if form == "long" else names[0])
        part = operated if form != "nested" else operated.get_layer("inner")
        sums = keras.Model(part.input, part.get_layer("sum").output)
        np.testing.assert_allclose(numpy(sums(x)), expected, atol=1e-5)
        assert operated.output_names == model.output_names
