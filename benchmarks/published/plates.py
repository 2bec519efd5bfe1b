"""fast-plate-ocr: a compact convolutional transformer that reads number plates."""

from .network import Network

BLOCKS = [
    {"layer": "Conv2D", "filters": 8, "kernel_size": 3},
    {"layer": "MaxBlurPooling2D", "pool_size": 2, "filter_size": 3},
    {"layer": "CoordConv2D", "filters": 16, "kernel_size": 3, "strides": 2},
    {"layer": "SqueezeExcite", "ratio": 0.5},
]
ENCODER = dict(layers=2, heads=2, projection_dim=32, units=[64, 32])
PLATE = dict(max_plate_slots=6, alphabet="0123456789ABCDEF_", pad_char="_", img_height=32, img_width=64)


def plates(also="", **encoder):
    model = dict(
        rescaling={}, tokenizer=dict(blocks=BLOCKS, patch_size=2, patch_mlp=dict(layer="MLP", hidden_units=[32])),
        transformer_encoder=ENCODER | encoder,
    )  # fmt: skip
    parts = dict(model_schema="CCTModelConfig", config="PlateConfig")
    configs = [
        Network("fast-plate-ocr", f"fast_plate_ocr.train.model.{module}:{name}", given)
        for (module, name), given in zip(parts.items(), (model, PLATE), strict=True)
    ]
    built = "fast_plate_ocr.train.model.model_builders:build_model"
    return Network("fast-plate-ocr", built, dict(zip(("model_cfg", "plate_cfg"), configs, strict=True)), also)


PLATES = (plates(), plates("DyT", normalization="dyt"), plates("RMS", normalization="rms_norm"))
