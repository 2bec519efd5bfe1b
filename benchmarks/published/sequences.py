"""Layers for sequences that are published alone."""

from .network import Network

TCN = dict(nb_filters=8, dilations=(1, 2, 4))

SEQUENCES = (
    Network("keras-tcn", "tcn:TCN", TCN, features=(32, 3)),
    Network("keras-tcn", "tcn:TCN", dict(**TCN, return_sequences=True, use_layer_norm=True), "sequences", (None, 3)),
    Network("keras-tcn", "tcn:TCN", dict(**TCN, padding="same", use_batch_norm=True), "both ways", (None, 3)),
    Network("mingru-keras", "mingru_keras:MinGRU", dict(units=8), features=(32, 3)),
)
