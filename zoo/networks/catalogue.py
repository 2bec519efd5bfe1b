"""The list of all families, and the table of the networks in them. Reading it builds nothing and loads no Keras.

To add a family, write a module with `FAMILIES` in the folder of its domain and list it in `MODULES`.
"""

from .family import Entry, Family
from .imagenet import applications, convnext
from .imagenet import densenet as imagenet_densenet
from .imagenet import resnet as imagenet_resnet
from .segmentation import fc_densenet, unet
from .sequences import recurrent_highway, resnet1d, tcn, wavenet
from .small_images import airbench, densenet, highway, mlp, preactivation, resnet, resnet9, stacks, wide
from .tables import mlp as tabular_mlp
from .tables import resnet as tabular_resnet
from .volumes import densenet3d, resnet3d, video_resnet

MODULES = (
    *(mlp, resnet, preactivation, wide, densenet, highway, airbench, resnet9, stacks),
    *(imagenet_resnet, applications, imagenet_densenet, convnext),
    *(video_resnet, resnet3d, densenet3d),
    *(tcn, wavenet, resnet1d, recurrent_highway),
    *(tabular_resnet, tabular_mlp),
    *(unet, fc_densenet),
)

FAMILIES: tuple[Family, ...] = tuple(family for module in MODULES for family in module.FAMILIES)
MODELS: dict[str, Entry] = {row.name: Entry(**vars(row), family=family) for family in FAMILIES for row in family.rows}
