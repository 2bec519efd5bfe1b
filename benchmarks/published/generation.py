"""One step of keras-hub's language models: from tokens and a cache of keys and values to logits and the new cache."""

from .keras_hub_images import hub
from .keras_hub_tokens import GEMMA, GROUPED, SIZE
from .network import Network

LENGTH = 64


def make_step(lm, heads, size):
    """Builds the step of a model whose cache has `heads` heads of `size`."""
    import keras

    class Step(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.lm = lm

        def call(self, token_ids, cache, index):
            logits, _, cache = self.lm.call_with_cache(token_ids, cache, index[0])
            return logits, cache

    tokens = keras.Input((None,), dtype="int32", name="token_ids")
    cache = keras.Input((lm.backbone.num_layers, 2, LENGTH, heads, size), name="cache")
    index = keras.Input((), dtype="int32", name="index")
    logits, grown = Step()(tokens, cache, index)
    return keras.Model([tokens, cache, index], {"logits": logits, "new_cache": grown})


def step(name, arguments, heads, size):
    lm = hub(f"{name}CausalLM", backbone=hub(f"{name}Backbone", **arguments))
    return Network("keras-hub", f"{__name__}:make_step", dict(lm=lm, heads=heads, size=size), name)


GENERATION = (
    *(step(name, SIZE, 2, 16) for name in ("GPT2", "OPT", "Bloom")),
    *(step(name, GROUPED, 2, 8) for name in ("Llama", "Mistral", "Phi3")),
    *(step(name, GEMMA, 2, 16) for name in ("Gemma", "Qwen3")),
)
