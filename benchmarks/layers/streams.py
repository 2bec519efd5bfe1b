"""Measures what hyper-connections cost in a training step of a transformer encoder.

    python -m benchmarks.layers.streams [--batch 16] [--rounds 7]

The encoder has 12 blocks of width 256 and reads 128 tokens. Each of its connections is a `HyperConnection` with four
streams, or a `Residual`: one around each block, or one around each of its two sub-layers, attention and MLP. All
networks with the same places take turns in one process, on TensorFlow in graph mode without XLA. Processor time is
measured too, since other load on the machine changes it less.
"""

import argparse

from ..harness import compile_for_training, format_spread, parse_options, random_batch, spread, write_result
from .residual import compare, take_turns

LAYERS, TOKENS, WIDTH, STREAMS = 12, 128, 256, 4
CONSTRAINTS = {"birkhoff": "birkhoff", "sinkhorn": "sinkhorn", "none": None}
PLACES = ("block", "sub-layer")


def attention():
    from keras import layers

    return layers.MultiHeadAttention(4, WIDTH // 4)


def mlp():
    from keras import layers

    return [layers.Dense(4 * WIDTH, activation="relu"), layers.Dense(WIDTH)]


def make_block():
    """Returns attention and MLP as one model, whose sums come with the connection around it.

    u = A(N(x)) + M(N(x + A(N(x))))
    """
    import keras
    from keras import layers

    inputs = keras.Input((TOKENS, WIDTH))
    attended = attention()(*[layers.LayerNormalization()(inputs)] * 2)
    x = layers.LayerNormalization()(inputs + attended)
    for layer in mlp():
        x = layer(x)
    return keras.Model(inputs, attended + x)


def build_encoder(place, connect):
    """Returns an encoder; `connect(layer, index, **options)` makes each of its connections."""
    import keras
    from keras import layers

    import keras_skip as ks

    parts = {"block": [make_block], "sub-layer": [attention, mlp]}[place]
    norm = None if place == "block" else "pre"
    inputs = x = keras.Input((TOKENS, WIDTH))
    is_plain = connect is ks.Residual
    if not is_plain:
        x = ks.ExpandStreams(STREAMS)(x)
    for index in range(LAYERS * len(parts)):
        part = parts[index % len(parts)]()
        x = ks.Residual(part, norm)(x) if is_plain else connect(part, index=index, norm=norm)(x)
    if not is_plain:
        x = ks.ReduceStreams()(x)
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return compile_for_training(keras.Model(inputs, layers.Dense(10)(x)))


def measure(place, batch, rounds):
    """Returns for each constraint the seconds of a step and its ratios to that of `Residual`."""
    from functools import partial

    import keras_skip as ks

    ways = {name: partial(ks.HyperConnection, streams=STREAMS, constraint=each) for name, each in CONSTRAINTS.items()}
    x, y = random_batch((TOKENS, WIDTH), batch)
    models = {name: build_encoder(place, connect) for name, connect in ({"Residual": ks.Residual} | ways).items()}
    times = take_turns({name: lambda model=model: model.train_on_batch(x, y) for name, model in models.items()}, rounds)
    rows = {}
    for name in ways:
        clock, processor = compare(times, name, "Residual")
        rows[name] = {"seconds": spread([pair[0] for pair in times[name]]), "clock": clock, "processor": processor}
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    options = parse_options(parser)
    figures = {}
    for place in PLACES:
        figures[place] = measure(place, options.batch, options.rounds)
        for constraint, row in figures[place].items():
            clock, processor = format_spread(row["clock"]), format_spread(row["processor"])
            print(f"{place}, {constraint}: {clock} of Residual, by the processor {processor}", flush=True)
    if options.json:
        write_result(options.json, {"batch": options.batch, "rounds": options.rounds}, figures)


if __name__ == "__main__":
    main()
