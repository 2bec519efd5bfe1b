"""Measures what `Residual` costs in a training step, and what each granularity of dropping saves.

    python -m benchmarks.layers.residual [--only NETWORK] [--batch 32] [--rounds 7] [--starts 3]

Cost: twelve `Residual(Dense(width))` against twelve `x + Dense(width)(x)`, in turns in one process, on TensorFlow in
graph mode without XLA. Their graphs have equally many operations; that figure has no noise.

Dropping: a transformer encoder of 12 layers in `Residual`, and the zoo's stochastic_resnet. Their branches survive with
probabilities that fall linearly to 0.5, and are dropped in each of the three ways; the same network without drops is the
measure. JAX runs in a process of its own.

    step         all four take turns in one process
    memory       TensorFlow: each in a process of its own, see `harness.measure_growth`. JAX: what the compiled step needs
                 besides its inputs and outputs
    first step   building not included; TensorFlow: each in a process of its own. JAX: tracing and compiling, in turns
"""

import argparse
import importlib.util

from ..harness import (
    alternate,
    compile_for_training,
    count_steps,
    format_spread,
    measure_growth,
    parse_options,
    random_batch,
    ratio,
    run_in_own_process,
    seconds,
    spread,
    write_result,
)

WIDTHS = {256: 64, 1024: 256}  # the batch for each width
LAYERS = 12
WAYS = ("none", "batch", "sample", "rows")
TOKENS, WIDTH = 64, 256
SHAPES = {"transformer": (TOKENS, WIDTH), "resnet56": (32, 32, 3)}
FINAL = 0.5


def build_transformer(way):
    """Returns an encoder in pre-norm form, with two residual connections in each layer."""
    import keras
    from keras import layers

    from keras_skip import Residual, linear_survival

    survival = linear_survival(1.0 if way == "none" else FINAL, 2 * LAYERS)
    granularity = "batch" if way == "none" else way
    inputs = x = keras.Input(SHAPES["transformer"])
    for place in range(LAYERS):
        parts = (
            layers.MultiHeadAttention(4, WIDTH // 4),
            [layers.Dense(4 * WIDTH, activation="relu"), layers.Dense(WIDTH)],
        )
        for part, probability in zip(parts, survival[2 * place : 2 * place + 2], strict=True):
            x = Residual(part, norm="pre", survival_prob=probability, granularity=granularity)(x)
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(inputs, layers.Dense(10)(x))


def build_network(network, way):
    from zoo.networks.resnet import stochastic_resnet

    if network == "transformer":
        return build_transformer(way)
    options = {"survival_prob": 1.0} if way == "none" else {"survival_prob": FINAL, "granularity": way}
    return stochastic_resnet(SHAPES[network], depth=56, **options)


def build_dense(width, skip):
    """Returns twelve dense layers with the skip of `Residual`, or with Keras's addition."""
    import keras
    from keras import layers

    from keras_skip import Residual

    inputs = x = keras.Input((width,))
    for _ in range(LAYERS):
        layer = layers.Dense(width, activation="relu")
        x = Residual(layer)(x) if skip == "Residual" else x + layer(x)
    return compile_for_training(keras.Model(inputs, layers.Dense(10)(x)))


def count_operations(model, x, y):
    import tensorflow as tf

    step = tf.function(lambda x, y: model.train_step((x, y)))
    return len(step.get_concrete_function(tf.constant(x), tf.constant(y)).graph.as_graph_def().node)


def measure_cost(width, rounds):
    """Returns the operations of both steps and the ratio of their times."""
    batch = WIDTHS[width]
    x, y = random_batch((width,), batch)
    models = {skip: build_dense(width, skip) for skip in ("Residual", "plain")}
    operations = {skip: count_operations(model, x, y) for skip, model in models.items()}
    steps = {skip: lambda model=model: model.train_on_batch(x, y) for skip, model in models.items()}
    times = take_turns(steps, rounds)
    return {"batch": batch, "operations": operations, "ratio": ratio(times, "Residual", "plain")}


def take_turns(steps, rounds, wanted=1.0):
    """Returns the seconds of a step of each, by round; one has about `wanted` seconds in a round."""
    for step in steps.values():
        seconds(step, 2)  # traces
    number = max(count_steps(wanted, step) for step in steps.values())
    return alternate({name: lambda step=step: seconds(step, number) for name, step in steps.items()}, rounds)


def measure_tensorflow(network, batch, rounds):
    """Returns the seconds of a step of each way, by round."""
    x, y = random_batch(SHAPES[network], batch)
    models = {way: compile_for_training(build_network(network, way)) for way in WAYS}
    return take_turns({way: lambda model=model: model.train_on_batch(x, y) for way, model in models.items()}, rounds)


def measure_start(network, way, batch):
    """Returns the seconds of the first step, and the MiB that the next ones take."""
    found = measure_growth(lambda: build_network(network, way), [batch], 5)
    return found["first step"], found["batches"][0]["MiB"]


def measure_jax(network, batch, rounds, starts):
    """Returns for each way the seconds of a step by round, the seconds of each start, and the MiB of a step."""
    import jax

    x, y = random_batch(SHAPES[network], batch)
    makers, compiled = {}, {}
    for way in WAYS:
        makers[way] = make_jax_step(build_network(network, way))

    def start(way):
        jax.clear_caches()
        function, arguments = makers[way]
        compiled[way] = jax.jit(function).lower(*arguments, x, y).compile()

    first = alternate({way: lambda way=way: seconds(lambda: start(way)) for way in WAYS}, starts)
    state = {way: arguments for way, (_, arguments) in makers.items()}

    def step(way):
        _, moved, gradients = compiled[way](*state[way], x, y)
        jax.block_until_ready(gradients)
        state[way] = state[way][0], moved

    times = take_turns({way: lambda way=way: step(way) for way in WAYS}, rounds)
    taken = {way: compiled[way].memory_analysis().temp_size_in_bytes / 2**20 for way in WAYS}
    return {"times": times, "first": first, "MiB": taken}


def make_jax_step(model):
    """Returns the gradient of a step as a function of weights, state and a batch, and its first two arguments."""
    import jax
    import keras

    measure = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def loss(weights, state, x, y):
        logits, moved = model.stateless_call(weights, state, x, training=True)
        return measure(y, logits), moved

    def step(weights, state, x, y):
        (value, moved), gradients = jax.value_and_grad(loss, has_aux=True)(weights, state, x, y)
        return value, moved, gradients

    values = ([v.value for v in each] for each in (model.trainable_variables, model.non_trainable_variables))
    return step, tuple(values)


def summarise(times, first, taken):
    """Returns for each way the seconds of a step, and its ratios to the network without drops."""
    return {
        way: {
            "seconds": spread(times[way]),
            "step": ratio(times, way, "none"),
            "MiB": taken[way],
            "memory": taken[way] / taken["none"],
            "first step": spread(first[way]),
            "start": ratio(first, way, "none"),
        }
        for way in WAYS
    }


def measure_drops(network, backend, options):
    environment = {"KERAS_BACKEND": backend}
    module = __spec__.name
    if backend == "jax":
        found = run_in_own_process(
            module, "jax", network, options.batch, options.rounds, options.starts, environment=environment
        )
        return summarise(found["times"], found["first"], found["MiB"])
    times = run_in_own_process(module, "tensorflow", network, options.batch, options.rounds, environment=environment)
    first, taken = {way: [] for way in WAYS}, dict.fromkeys(WAYS, 0.0)
    for _ in range(options.starts):
        for way in WAYS:
            taking, peak = run_in_own_process(module, "start", network, way, options.batch, environment=environment)
            first[way].append(taking)
            taken[way] = max(taken[way], peak)
    return summarise(times, first, taken)


def case(what, *arguments):
    return {"jax": measure_jax, "tensorflow": measure_tensorflow, "start": measure_start}[what](*arguments)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("cost", *SHAPES), nargs="+", default=["cost", *SHAPES])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--starts", type=int, default=3, help="first steps of each")
    options = parse_options(parser, case)
    backends = ["tensorflow", *(["jax"] if importlib.util.find_spec("jax") else [])]
    figures = {"cost": {}, "drops": {}}
    if "cost" in options.only:
        for width in WIDTHS:
            figures["cost"][width] = found = measure_cost(width, options.rounds)
            print(f"Residual / plain, width {width}: {format_spread(found['ratio'])}, {found['operations']}", flush=True)
    for network in [name for name in options.only if name != "cost"]:
        figures["drops"][network] = {}
        for backend in backends:
            figures["drops"][network][backend] = found = measure_drops(network, backend, options)
            for way, row in found.items():
                print(
                    f"{network}, {backend}, {way}: step {row['seconds']['median']:.3f} s, {format_spread(row['step'])};"
                    f" {row['MiB']:.0f} MiB, {row['memory']:.2f};"
                    f" first step {row['first step']['median']:.1f} s, {format_spread(row['start'])}",
                    flush=True,
                )
    if options.json:
        arguments = {"batch": options.batch, "rounds": options.rounds, "starts": options.starts}
        write_result(options.json, arguments, figures)


if __name__ == "__main__":
    main()
