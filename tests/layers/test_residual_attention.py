"""A skip around attention: what the wrapped layer gives by itself, with its context, masks, draws and gradients."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_skip as ks
from tests.layers.test_contracts import random_state
from tests.layers.test_normalization import gradients

B, T, S, C = 4, 5, 7, 6
RNG = np.random.default_rng(0)
X, CONTEXT = (RNG.normal(size=(B, size, C)).astype("float32") for size in (T, S))
MASK, CONTEXT_MASK = (np.arange(size) < np.array([size, 2, 3, 4])[:, None] for size in (T, S))
PAIRS = RNG.random((B, T, S)) < 0.7
PAIRS[..., 0] = True
WAYS = [
    {},
    {"survival_prob": 0.5},
    {"survival_prob": 0.5, "granularity": "sample"},
    {"survival_prob": 0.5, "granularity": "rows"},
]


def names(options):
    return "-".join(map(str, options.values())) or "plain"


def numpy(x):
    return np.array(ops.convert_to_numpy(x))


def make(layer=None, norm="pre", context=False, **options):
    layer = keras.layers.MultiHeadAttention(2, 3) if layer is None else layer
    residual = ks.Residual(layer, norm, **options)
    residual.build(X.shape, CONTEXT.shape if context else None)
    random_state(residual)
    return residual


@pytest.mark.parametrize(
    "layer", [lambda: keras.layers.MultiHeadAttention(2, 3), lambda: keras.layers.GroupQueryAttention(3, 4, 2)]
)
def test_attention_reads_its_normalised_input(layer):
    r = make(layer())
    z = r.pre_norm(X)
    np.testing.assert_allclose(numpy(r(X)), X + numpy(r.layer(z, z)), rtol=1e-5, atol=1e-5)


GIVEN = {
    "context": ({"context": CONTEXT}, {}),
    "mask": ({"mask": MASK}, {"query_mask": MASK, "value_mask": MASK}),
    "query and context mask": (
        {"context": CONTEXT, "mask": MASK, "context_mask": CONTEXT_MASK},
        {"query_mask": MASK, "value_mask": CONTEXT_MASK},
    ),
    "mask of a query": ({"context": CONTEXT, "mask": MASK}, {"query_mask": MASK}),
    "attention mask": ({"context": CONTEXT, "attention_mask": PAIRS}, {"attention_mask": PAIRS}),
    "causal": ({"use_causal_mask": True}, {"use_causal_mask": True}),
}


@pytest.mark.parametrize("given", GIVEN)
def test_attention_gets_its_context_and_its_masks(given):
    call, expected = GIVEN[given]
    r = make(context="context" in call)
    z = r.pre_norm(X)
    y = numpy(r.layer(z, call.get("context", z), **expected))
    np.testing.assert_allclose(numpy(r(X, **call)), X + y, rtol=1e-5, atol=1e-5)
    assert np.abs(y - numpy(r.layer(z, z))).max() > 1e-3


class Masked(keras.layers.Layer):
    """Keeps the masks that it is given."""

    def __init__(self):
        super().__init__()
        self.supports_masking = True

    def call(self, x, other, mask=None, query_mask=None, value_mask=None):
        self.given = [numpy(each) for each in (mask, query_mask, value_mask)]
        return 1 * x


def test_a_layer_gets_the_masks_of_the_call_and_those_that_the_input_brings():
    r = ks.Residual(Masked())
    r(X, mask=MASK)
    np.testing.assert_array_equal(r.layer.given, [MASK, MASK, MASK])
    r = ks.Residual(Masked())
    r(keras.layers.Masking()(X * MASK[..., None]), X, context_mask=~MASK)
    np.testing.assert_array_equal(r.layer.given, [MASK, MASK, ~MASK])


EVERYTHING = {
    "context": CONTEXT,
    "mask": MASK,
    "context_mask": CONTEXT_MASK,
    "attention_mask": PAIRS,
    "use_causal_mask": True,
}


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("options", WAYS, ids=names)
def test_each_example_of_a_training_step_keeps_its_context_and_masks(options, recompute):
    r = make(context=True, seed=1, recompute=recompute, **options)
    z = r.pre_norm(X)
    others = {"attention_mask": PAIRS, "use_causal_mask": True}
    u = numpy(r.layer(z, CONTEXT, query_mask=MASK, value_mask=CONTEXT_MASK, **others))
    seen = set()
    for _ in range(6):
        y = numpy(r(X, **EVERYTHING, training=True)) - X
        kept = np.abs(y).max((1, 2)) > 1e-3
        gain = 1 / options.get("survival_prob", 1.0)
        np.testing.assert_allclose(y, gain * u * kept[:, None, None], rtol=1e-4, atol=1e-5)
        seen.add(kept.sum())
    sums = {"batch": {0, B}, "rows": {B // 2}}.get(options.get("granularity", "batch" if options else None))
    assert seen == (sums or seen) if options else seen == {B}


class Both(keras.layers.Layer):
    """A skip with context as a layer of one input, (x, context) one after the other along the steps."""

    def __init__(self, residual):
        super().__init__()
        self.residual = residual

    def call(self, both, training=None):
        return self.residual(both[:, :T], training=training, **EVERYTHING | {"context": both[:, T:]})


@pytest.mark.parametrize("options", WAYS, ids=names)
def test_recomputation_has_the_same_gradients_those_of_the_context_too(options):
    if options:
        options = options | {"survival_prob": 0.9}  # so that something is kept
    found = []
    for recompute in (False, True):
        keras.utils.set_random_seed(0)
        layer = keras.layers.MultiHeadAttention(2, 3, dropout=0.2, seed=1)
        both = Both(make(layer, "peri", context=True, seed=3, recompute=recompute, **options))
        both.build((B, T + S, C))
        found.append(
            gradients(both, np.concatenate([X, CONTEXT], axis=1), np.linspace(-1, 1, B * T * C).reshape(X.shape))
        )
    for plain, again in zip(*found, strict=True):
        np.testing.assert_allclose(again, plain, rtol=1e-4, atol=1e-5)
    by_context = found[0][0][:, T:]
    assert by_context.any() and not by_context[~(CONTEXT_MASK & PAIRS.any(1))].any()


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("options", WAYS, ids=names)
@pytest.mark.parametrize("gate", [None, "highway"])
def test_what_stands_in_the_padding_changes_nothing_that_is_real(gate, options, recompute):
    tokens, others = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    embed = keras.layers.Embedding(9, C, mask_zero=True)
    first = ks.Residual(keras.layers.MultiHeadAttention(2, 3), "pre", seed=1, recompute=recompute, gate=gate, **options)
    cross = ks.Residual(keras.layers.MultiHeadAttention(2, 3), "pre", seed=2, recompute=recompute, gate=gate, **options)
    y = cross(first(embed(tokens)), context=embed(others))
    model = keras.Model([tokens, others], [y, keras.layers.GlobalAveragePooling1D()(y)])
    ids = RNG.integers(1, 9, (B, T)) * MASK, RNG.integers(1, 9, (B, S)) * CONTEXT_MASK
    seeds = [layer.seed_generator for layer in (first, cross) if layer.seed_generator is not None]
    starts = [numpy(seed.state) for seed in seeds]
    table = numpy(embed.embeddings)
    results = []
    for padding in (0.0, 50.0):
        table[0] = padding
        embed.embeddings.assign(table)
        for seed, start in zip(seeds, starts, strict=True):
            seed.state.assign(start)
        y, mean = model(list(ids), training=True)
        results.append((numpy(y)[MASK], numpy(mean)))
    for noise, zeros in zip(*results, strict=True):
        np.testing.assert_allclose(noise, zeros, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("norm", "dtype"), [("peri", "float32"), ("peri", "bfloat16"), ("post", "float32")], ids=str)
def test_the_mask_of_a_sequence_stays_out_of_means_and_statistics(norm, dtype):
    options = {"normalization": "batch", "attention": "se", "norm_momentum": 0.0}
    shortcut = keras.layers.Conv1D(C, 3, padding="same", data_format="channels_last")
    r = ks.Residual(keras.layers.Dense(C, dtype=dtype), norm, shortcut=shortcut, **options)
    found = []
    for padding in (0.0, 50.0):
        y = numpy(r(np.where(MASK[..., None], X, padding), mask=MASK, training=True))[MASK]
        norms = (r.pre_norm, r.update_norm) if norm == "peri" else (r.post_norm,)
        found.append((y, *(numpy(norm.moving_mean) for norm in norms)))
    for zeros, noise in zip(*found, strict=True):
        np.testing.assert_allclose(noise, zeros, rtol=1e-4, atol=1e-4)
    assert np.abs(found[0][1]).max() > 1e-3
    if norm == "peri":
        np.testing.assert_allclose(found[0][1], X[MASK].mean(0), rtol=1e-4, atol=1e-5)


def test_a_context_has_channels_of_its_own_and_the_mask_of_the_input_stays_its_own():
    tokens, wide = keras.Input((None,), dtype="int32"), keras.Input((None, 2 * C))
    embed = keras.layers.Embedding(9, C, mask_zero=True)
    r = ks.Residual(keras.layers.MultiHeadAttention(2, 3), "pre", normalization="batch", norm_momentum=0.0)
    model = keras.Model([tokens, wide], r(embed(tokens), context=wide))
    ids = np.array([[1, 2, 3, 0, 0], [4, 5, 0, 0, 0]])
    y = model([ids, np.concatenate([CONTEXT, CONTEXT], axis=-1)[:2]], training=True)
    assert y.shape == (2, 5, C)
    real = numpy(embed.embeddings)[ids[ids > 0]]
    np.testing.assert_allclose(numpy(r.pre_norm.moving_mean), real.mean(0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("options", WAYS, ids=names)
def test_an_attention_mask_may_be_the_same_for_all_examples(options):
    r = make(context=True, seed=1, **options)
    start = None if r.seed_generator is None else numpy(r.seed_generator.state)
    outputs = []
    for mask in (PAIRS[:1], np.tile(PAIRS[:1], (B, 1, 1)), PAIRS[0]):
        if start is not None:
            r.seed_generator.state.assign(start)
        outputs.append(numpy(r(X, context=CONTEXT, attention_mask=mask, training=True)))
    for y in outputs[1:]:
        np.testing.assert_allclose(y, outputs[0], rtol=1e-5, atol=1e-5)


def test_a_network_of_both_kinds_of_attention_learns_and_comes_back_from_its_file(tmp_path):
    x, context = keras.Input((None, C)), keras.Input((None, C))
    options = {"branch_scale": "layerscale", "survival_prob": 0.9, "depth": 2, "recompute": True}
    y = ks.Residual(keras.layers.MultiHeadAttention(2, 3), "keel", **options)(x, use_causal_mask=True)
    y = ks.Residual(keras.layers.MultiHeadAttention(2, 3), "deepnorm", gate="review", **options)(y, context=context)
    model = keras.Model([x, context], y)
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=keras.backend.backend() == "jax")
    before = model.get_weights()
    model.fit([X, CONTEXT], X, batch_size=3, epochs=2, verbose=0)
    assert any(np.any(new != old) for new, old in zip(model.get_weights(), before, strict=True))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(numpy(again([X, CONTEXT])), numpy(model([X, CONTEXT])))
