from .augmentation import Augmentation as Augmentation
from .batches import Batches as Batches
from .source import Preprocessing as Preprocessing
from .source import Source as Source
from .sources import load_source as load_source
