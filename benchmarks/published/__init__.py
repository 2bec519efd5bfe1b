"""Networks that others published for Keras 3, all small and with new weights, so that none needs a download."""

from .generation import GENERATION
from .images import IMAGES
from .k3im import K3IM
from .keras_hub_images import HUB_IMAGES
from .keras_hub_tokens import HUB_TOKENS
from .network import VOCABULARY, Network
from .plates import PLATES
from .recommenders import RECOMMENDERS
from .sequences import SEQUENCES

NETWORKS = (*IMAGES, *K3IM, *HUB_IMAGES, *HUB_TOKENS, *GENERATION, *SEQUENCES, *RECOMMENDERS, *PLATES)

__all__ = ["NETWORKS", "VOCABULARY", "Network"]
