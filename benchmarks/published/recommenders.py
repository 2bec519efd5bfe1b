"""Small recommenders of the layers of keras-rs."""

from .network import VOCABULARY, Network


def rs(name, **arguments):
    return Network("keras-rs", f"keras_rs.layers:{name}", arguments)


def dlrm(tables, interaction):
    """Builds a network that multiplies each pair of features: numbers, and the mean of the rows of two lists of ids."""
    import keras

    numbers = keras.Input((4,), name="numbers")
    lists = [keras.Input((3,), dtype="int32", name=f"ids_{i}") for i in range(2)]
    features = [keras.layers.Dense(8, "relu")(numbers), *(tables(ids) for ids in lists)]
    return keras.Model([numbers, *lists], keras.layers.Dense(1, "sigmoid")(interaction(features)))


def deep_and_cross(cross):
    import keras

    x = keras.Input((8,))
    return keras.Model(x, keras.layers.Dense(1)(cross(x, cross(x, x))))


def two_towers(retrieval):
    """Builds a network that finds the candidates nearest to a query."""
    import keras
    import numpy as np

    retrieval.update_candidates(np.random.default_rng(0).normal(size=(32, 8)).astype("float32"))
    x = keras.Input((4,))
    scores, ids = retrieval(keras.layers.Dense(8)(x))
    return keras.Model(x, {"scores": scores, "ids": ids})


def network(name, **layers):
    return Network("keras-rs", f"{__name__}:{name}", layers)


RECOMMENDERS = (
    network("dlrm", tables=rs("EmbedReduce", input_dim=VOCABULARY, output_dim=8), interaction=rs("DotInteraction")),
    network("deep_and_cross", cross=rs("FeatureCross", projection_dim=4)),
    network("two_towers", retrieval=rs("BruteForceRetrieval", k=5)),
)
