from .catalogue import available as available
