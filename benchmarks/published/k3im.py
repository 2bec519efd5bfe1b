"""k3im: patches and attention, and what replaces it, for images, series and videos."""

from .network import Network


def k3im(path, *shared, **arguments):
    return Network("k3im", f"k3im.{path}", {key: x for part in shared for key, x in part.items()} | arguments)


def images(vit, classes):
    image = dict(image_size=32, patch_size=8)
    mlp = classes | dict(embedding_dim=32, num_blocks=2, dropout_rate=0.1)
    cross = {
        f"{size}_enc_{key}": x for size in ("sm", "lg") for key, x in dict(heads=2, mlp_dim=32, dim_head=16).items()
    }
    eanet = dict(patch_size=4, embedding_dim=32, num_transformer_blocks=2, mlp_dim=32, num_heads=2, dim_coefficient=4)
    focal = dict(embed_dim=16, depths=[1, 1], focal_levels=[2, 2], focal_windows=[3, 2])
    swin = dict(patch_size=2, embed_dim=32, num_heads=4, window_size=2, num_mlp=64, shift_size=1)
    return (
        k3im("vit:ViT", image, vit),
        k3im("simple_vit:SimpleViT", image, vit),
        k3im("simple_vit_with_fft:SimpleViTFFT", image, vit, freq_patch_size=8),
        k3im("simple_vit_with_register_tokens:SimpleViT_RT", image, vit),
        k3im("vit_with_patch_dropout:SimpleViTPD", image, vit),
        k3im("deepvit:DeepViT", image, vit),
        k3im("cait:CaiTModel", image, vit, cls_depth=1),
        k3im("token_learner:ViTokenLearner", image, vit, token_learner_units=4),
        k3im("cross_vit:CrossViT", classes, cross, image_size=48, sm_dim=16, lg_dim=32, channels=3, depth=1),
        k3im("convmixer:ConvMixer", filters=32, depth=3),
        k3im("eanet:EANet", classes, eanet, input_shape=(32, 32, 3), attention_dropout=0.1, projection_dropout=0.1),
        k3im("fnet:FNetModel", image, mlp),
        k3im("gmlp:gMLPModel", image, mlp),
        k3im("focalnet:FocalNetModel", classes, focal, img_size=32),
        k3im("mlp_mixer:MlpMixer", classes, img_size=32, patch_size=8, num_blocks=2, embed_dim=32),
        k3im("swint:SwinTModel", classes, swin, img_size=32, qkv_bias=True, dropout_rate=0.1),
    )


def series(vit, classes):
    length, dim = classes | dict(seq_len=64, patch_size=8), dict(dim=32, depth=2)
    return (
        k3im("vit_1d:ViT1DModel", length, vit),
        k3im("simple_vit_1d:SimpleViT1DModel", length, vit),
        k3im("cait_1d:CAiT_1DModel", length, vit, cls_depth=1),
        k3im("convmixer_1d:ConvMixer1DModel", filters=32, depth=3),
        k3im("eanet_1d:EANet1DModel", length, dim, heads=2, mlp_dim=64),
        k3im("fnet_1d:FNet1DModel", length, dim),
        k3im("gmlp_1d:gMLP1DModel", length, dim),
        k3im("mlp_mixer_1d:Mixer1DModel", length, dim, hidden_units=32),
    )


def videos(vit, classes):
    video = classes | dict(image_size=32, image_patch_size=8, frames=8, frame_patch_size=2)
    mlp = video | dict(dim=32, depth=2)
    units = mlp | dict(hidden_units=32, dropout_rate=0.1)
    turns = video | dict(dim=32, spatial_depth=1, temporal_depth=1)
    return (
        k3im("vit_3d:ViT3DModel", video, vit, pool="mean"),
        k3im("simple_vit_3d:SimpleViT3DModel", video, vit),
        k3im("cait_3d:CAiT3DModel", video, vit, cls_depth=1),
        k3im("convmixer_3d:ConvMixer3DModel", image_size=16, num_frames=8, filters=16, depth=2),
        k3im("eanet3d:EANet3DModel", mlp, heads=2, mlp_dim=64),
        k3im("fnet_3d:FNet3DModel", units),
        k3im("gmlp_3d:gMLP3DModel", units),
        k3im("mlp_mixer_3d:MLPMixer3DModel", units),
        k3im("vivit:ViViT", turns, heads=2, mlp_dim=64, dim_head=16),
        k3im("video_eanet:VideoEANet", turns, heads=2, mlp_dim=64),
        # Its two kinds of mixing take each other's outputs: another width is refused.
        k3im("video_mixer:VideoMixerModel", turns, mlp_dim=32),
    )


def everything():
    classes = dict(num_classes=5)
    vit = classes | dict(dim=32, depth=2, heads=2, mlp_dim=64, dim_head=16)
    cct = classes | dict(num_heads=2, projection_dim=32, kernel_size=3, stride=1, padding=1, positional_emb=True)
    cct |= dict(transformer_units=[32, 32], stochastic_depth_rate=0.1, transformer_layers=2)
    yield from images(vit, classes)
    yield k3im("cct:CCT", cct, input_shape=(32, 32, 3))
    yield from series(vit, classes)
    yield k3im("cct_1d:CCT_1DModel", cct, input_shape=(64, 3))
    yield from videos(vit, classes)
    yield k3im("cct_3d:CCT3DModel", cct, input_shape=(8, 16, 16, 3))


K3IM = tuple(everything())
