"""Classifiers and detectors for images, and segmentation in two and three dimensions: kimm, medicai, kyolo."""

from .network import Network

KIMM = (
    *("ConvMixer736D32", "ConvNeXtAtto", "DenseNet121", "EfficientNetB0", "EfficientNetLiteB0", "EfficientNetV2B0"),
    *("TinyNetE", "GhostNetW050", "GhostNetV2W100", "GhostNetV3W050", "HGNetTiny", "HGNetV2B0", "InceptionNeXtTiny"),
    *("InceptionV3", "LCNet035", "MobileNetV2W050", "MobileNetV3W050Small", "MobileOneS0", "MobileViTXXS"),
    *("MobileViTV2W050", "RegNetX002", "RegNetY002", "RepVGGA0", "ResNet18", "ResNet50", "VisionTransformerTiny16"),
    "Xception",
)
# Smaller images are nothing at the last of their stages.
LARGER = ("InceptionV3", "Xception")
MEDICAI = (
    *("ConvNeXtTiny", "ConvNeXtV2Atto", "DenseNet121", "EfficientNetB0", "EfficientNetV2B0", "MixViTB0", "ResNet18"),
    *("ResNet50v2", "ResNet50vd", "ResNeXt50", "SEResNet18", "SwinTiny", "SwinTinyV2", "Xception"),
)
KYOLO = ("yolov5n", "yolov8n", "yolov9t", "yolov10n", "yolo11n", "yolo12n", "yolo26n")


def kimm(name):
    size = 96 if name in LARGER else 64
    return Network("kimm", f"kimm.models:{name}", dict(weights=None, input_shape=(size, size, 3)))


def medicai(name, also="", **arguments):
    return Network("medicai", f"medicai.models:{name}", dict(num_classes=3) | arguments, also)


def medical():
    flat, deep = dict(input_shape=(64, 64, 3)), dict(input_shape=(32, 32, 32, 1))
    resnet = dict(encoder_name="resnet18")
    vit = dict(patch_size=16, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64, use_class_token=True)
    encoder = Network("medicai", "medicai.models:UNETRPlusPlusEncoder", dict(**deep, depths=[1, 1, 1, 1]))
    return (
        *(medicai(name, **flat) for name in MEDICAI),
        Network("medicai", "medicai.models:ViTBackbone", flat | vit),
        *(medicai(name, **flat, **resnet) for name in ("UNet", "AttentionUNet", "UNetPlusPlus", "DeepLabV3Plus")),
        medicai("UPerNet", **flat, **resnet),
        medicai("TransUNet", **flat, **resnet, num_vit_layers=2, embed_dim=32, mlp_dim=64, num_heads=2, num_queries=10),
        medicai("SegFormer", **flat, encoder_name="mit_b0"),
        medicai("UNet", "3D", **deep, **resnet),
        medicai("SwinUNETR", "3D", **deep, encoder_name="swin_tiny", feature_size=12),
        medicai("UNETRPlusPlus", "3D", encoder=encoder),
    )


def kyolo(name):
    return Network("kyolo", f"kyolo:{name}", dict(input_shape=(64, 64, 3), num_classes=5, weights=None))


IMAGES = (*map(kimm, KIMM), *medical(), *map(kyolo, KYOLO))
