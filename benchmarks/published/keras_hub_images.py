"""keras-hub's networks for images; those that take images of any size are left to take them."""

from .network import Network


def hub(name, also="", **arguments):
    return Network("keras-hub", f"keras_hub.models:{name}", arguments, also)


SQUARE = dict(image_shape=(64, 64, 3))
VIT = dict(**SQUARE, patch_size=16, num_layers=2, hidden_dim=32, num_heads=2)
RESNET = dict(
    input_conv_filters=[64],
    input_conv_kernel_sizes=[7],
    stackwise_num_filters=[64, 64, 64, 64],
    stackwise_num_blocks=[1, 1, 1, 1],
    stackwise_num_strides=[1, 2, 2, 2],
    block_type="basic_block",
)
MIT = dict(
    **SQUARE,
    num_layers=2,
    hidden_dims=[16, 32],
    layerwise_depths=[1, 1],
    layerwise_num_heads=[1, 2],
    layerwise_sr_ratios=[4, 2],
    layerwise_patch_sizes=[7, 3],
    layerwise_strides=[4, 2],
    max_drop_path_rate=0.1,
)
CSPNET = dict(
    stem_filters=16,
    stem_kernel_size=3,
    stem_strides=1,
    stackwise_depth=[1, 1],
    stackwise_strides=[2, 2],
    stackwise_num_filters=[16, 32],
    block_type="dark_block",
    stage_type="dark",
)
EFFICIENTNET = dict(
    stackwise_width_coefficients=[1.0] * 3,
    stackwise_depth_coefficients=[1.0] * 3,
    stackwise_kernel_sizes=[3, 3, 5],
    stackwise_num_repeats=[1, 2, 1],
    stackwise_input_filters=[16, 16, 24],
    stackwise_output_filters=[16, 24, 32],
    stackwise_expansion_ratios=[1, 4, 4],
    stackwise_squeeze_and_excite_ratios=[0, 0.25, 0.25],
    stackwise_strides=[1, 2, 2],
    stackwise_block_types=["fused", "unfused", "unfused"],
)
MOBILENET = dict(
    stackwise_expansion=[[16, 24], [32, 32]],
    stackwise_num_blocks=[2, 2],
    stackwise_num_filters=[[8, 8], [16, 16]],
    stackwise_kernel_size=[[3, 3], [5, 5]],
    stackwise_num_strides=[[2, 1], [2, 1]],
    stackwise_se_ratio=[[None, None], [0.25, 0.25]],
    stackwise_activation=[["relu"] * 2, ["hard_swish"] * 2],
    stackwise_padding=[[1, 1], [2, 2]],
    output_num_filters=64,
    depthwise_filters=8,
    depthwise_stride=2,
    depthwise_residual=False,
    last_layer_filter=64,
)
HGNET = dict(
    depths=[1, 1],
    embedding_size=16,
    hidden_sizes=[32, 64],
    stem_channels=[3, 8, 16],
    hidden_act="relu",
    use_learnable_affine_block=True,
    stackwise_stage_filters=[(16, 8, 32, 1, 2, 3), (32, 16, 64, 1, 2, 5)],
    apply_downsample=[False, True],
    use_lightweight_conv_block=[False, True],
)
DEEPLAB = dict(
    spatial_pyramid_pooling_key="P5",
    low_level_feature_key="P2",
    upsampling_size=8,
    dilation_rates=[2, 3],
    projection_filters=16,
)
DEPTH = dict(
    reassemble_factors=[2, 1],
    neck_hidden_dims=[8, 16],
    fusion_hidden_dim=16,
    head_hidden_dim=8,
    head_in_index=-1,
    feature_keys=["stage1", "stage2"],
)
VIT_DET = dict(
    **SQUARE,
    hidden_size=32,
    num_layers=2,
    intermediate_dim=64,
    num_heads=2,
    window_size=2,
    global_attention_layer_indices=[1],
    num_output_channels=8,
)

any_size, of_one = hub("ResNetBackbone", **RESNET), hub("ResNetBackbone", **RESNET, **SQUARE)
mit = hub("MiTBackbone", **MIT)
dino = hub("DINOV2Backbone", **VIT, intermediate_dim=64, position_embedding_shape=(64, 64))

HUB_IMAGES = (
    any_size,
    hub("ResNetBackbone", "pre-activation", **RESNET, use_pre_activation=True),
    hub("ResNetImageClassifier", backbone=of_one, num_classes=5),
    hub("DenseNetBackbone", stackwise_num_repeats=[2, 2, 2], growth_rate=8),
    hub("VGGBackbone", stackwise_num_repeats=[1, 1, 2], stackwise_num_filters=[8, 16, 16]),
    hub("XceptionBackbone", stackwise_conv_filters=[[16, 32], [32, 32]], stackwise_pooling=[True, False]),
    hub("CSPNetBackbone", **CSPNET),
    hub("EfficientNetBackbone", **EFFICIENTNET),
    hub("MobileNetBackbone", **MOBILENET),
    hub("HGNetV2Backbone", **HGNET),
    mit,
    hub("SegFormerBackbone", image_encoder=mit, projection_filters=16),
    hub("DeepLabV3Backbone", image_encoder=any_size, **DEEPLAB),
    hub("DeepLabV3Backbone", "64 px", image_encoder=of_one, **SQUARE, **DEEPLAB),
    hub("RetinaNetBackbone", image_encoder=any_size, min_level=3, max_level=6, use_p5=False),
    hub("ViTBackbone", **VIT, mlp_dim=64),
    hub("ViTImageClassifier", backbone=hub("ViTBackbone", **VIT, mlp_dim=64), num_classes=5),
    hub("DeiTBackbone", **VIT, intermediate_dim=64),
    dino,
    hub("DINOV3Backbone", **VIT, intermediate_dim=64),
    hub("DepthAnythingBackbone", image_encoder=dino, **DEPTH),
    hub("SwinTransformerBackbone", **SQUARE, embed_dim=16, depths=(2, 2), num_heads=(2, 4), window_size=4),
    hub("ViTDetBackbone", **VIT_DET),
)
