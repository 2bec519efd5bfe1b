"""keras-hub's networks for tokens, some of which take images or sounds too."""

from .keras_hub_images import hub
from .network import VOCABULARY, Network

WORDS = dict(vocabulary_size=VOCABULARY)
WIDTH = dict(hidden_dim=32, intermediate_dim=64)
LAYERS = WIDTH | dict(num_layers=2, num_heads=2)
SIZE = WORDS | LAYERS
GROUPED = WORDS | WIDTH | dict(num_layers=2, num_query_heads=4, num_key_value_heads=2)
EXPERTS = GROUPED | dict(num_experts=4)
GEMMA = GROUPED | dict(head_dim=16)
SMOL = WORDS | dict(
    **WIDTH,
    num_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    attention_bias=False,
    attention_dropout=0.0,
    mlp_bias=False,
    rope_layer_enabled_list=[True, False],
    layer_types=["attention"] * 2,
    layer_norm_epsilon=1e-5,
    max_position_embeddings=128,
    rope_theta=10000.0,
    partial_rotary_factor=1.0,
)
SIDE = dict(
    **WIDTH,
    num_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    layer_types=["sliding_attention", "full_attention"],
)
T5GEMMA = {f"{side}_{key}": x for side in ("encoder", "decoder") for key, x in SIDE.items()}
RWKV = WORDS | dict(num_layers=2, hidden_size=32, head_size=16, intermediate_dim=64)
MOONSHINE = dict(encoder_num_layers=1, decoder_num_layers=1, encoder_num_heads=2, decoder_num_heads=2, filter_dim=32)
VISION = dict(patch_size=16, image_shape=(64, 64, 3), **LAYERS)


def of_length(backbone, length):
    """Builds a network for texts of a fixed length, which the loops of some backbones need."""
    import keras

    x = {name: keras.Input((length,), dtype=given.dtype, name=name) for name, given in backbone.input.items()}
    return keras.Model(x, backbone(x))


HUB_TOKENS = (
    *(hub(f"{name}Backbone", **SIZE) for name in ("Bert", "Roberta", "XLMRoberta", "DistilBert", "DebertaV3", "ESM2")),
    *(hub(f"{name}Backbone", **SIZE) for name in ("GPT2", "OPT", "Bloom", "GPTNeoX", "XLNet", "Bart", "T5")),
    hub("BertTextClassifier", backbone=hub("BertBackbone", **SIZE), num_classes=3),
    hub("BertMaskedLM", backbone=hub("BertBackbone", **SIZE)),
    hub("GPT2CausalLM", backbone=hub("GPT2Backbone", **SIZE)),
    hub("AlbertBackbone", **SIZE, embedding_dim=16),
    hub("ElectraBackbone", **LAYERS, vocab_size=VOCABULARY, embedding_dim=16),
    hub("FNetBackbone", **WORDS, **WIDTH, num_layers=2),
    hub("FalconBackbone", **WORDS, **WIDTH, num_layers=2, num_attention_heads=2),
    hub("RoformerV2Backbone", **SIZE, head_size=16),
    *(hub(f"{name}Backbone", **GROUPED) for name in ("Llama", "Llama3", "Mistral", "Phi3", "Qwen")),
    hub("Qwen3Backbone", **GEMMA),
    hub("GemmaBackbone", **GEMMA),
    hub("Gemma3Backbone", **GEMMA, image_size=64),
    hub("MixtralBackbone", **EXPERTS),
    hub("GptOssBackbone", **EXPERTS),
    hub("QwenMoeBackbone", **EXPERTS, moe_intermediate_dim=32, shared_expert_intermediate_dim=32),
    hub("SmolLM3Backbone", **SMOL),
    hub("T5GemmaBackbone", **WORDS, **T5GEMMA, sliding_window=16),
    hub("RWKV7Backbone", **RWKV),
    Network(
        "keras-hub", f"{__name__}:of_length", dict(backbone=hub("RWKV7Backbone", **RWKV), length=32), "RWKV7, 32 tokens"
    ),
    hub("WhisperBackbone", **SIZE, max_encoder_sequence_length=128, max_decoder_sequence_length=128),
    hub("MoonshineBackbone", **WORDS, **WIDTH, **MOONSHINE),
    hub(
        "CLIPBackbone",
        vision_encoder=hub("CLIPVisionEncoder", **VISION),
        text_encoder=hub("CLIPTextEncoder", **SIZE, embedding_dim=32),
        projection_dim=16,
    ),
    hub(
        "SigLIPBackbone",
        vision_encoder=hub("SigLIPVisionEncoder", **VISION),
        text_encoder=hub("SigLIPTextEncoder", **SIZE, embedding_dim=32),
    ),
)
