"""Measures what `Residual` costs in a training step, and what each granularity of dropping saves.

    python -m benchmarks.layers.residual [--only NETWORK] [--batch 32] [--rounds 7] [--starts 3]

Cost: twelve `Residual(Dense(width))` against twelve `x + Dense(width)(x)`, in turns in one process, on TensorFlow in
graph mode without XLA. The number of operations in their graphs has no noise.

Dropping: a transformer encoder of 12 layers made of `Residual`, and the zoo's stochastic_resnet. The survival
probabilities of their branches fall linearly to 0.5, with each of the three granularities; every figure is divided by
that of the same network without drops. JAX runs in its own process.

    step         all four take turns in one process. Processor time is measured too, since other load on the machine
                 changes it less
    tensors      the peak of a step, minus the memory in use between steps. TensorFlow: from its own allocator. JAX: the
                 memory that the compiled step needs besides its inputs and outputs
    resident     TensorFlow only, see `harness.measure_growth`; includes the kernels that oneDNN keeps for each batch
                 size. With "rows" each block has its own batch size; the kernels matter less as batches grow
    first step   tracing and compiling, by processor time; building is not included
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
    time_by_both_clocks,
    write_result,
)

WIDTHS = {256: 64, 1024: 256}  # the batch for each width
LAYERS = 12
WAYS = ("none", "batch", "sample", "rows")
TOKENS, WIDTH = 64, 256
SHAPES = {"transformer": (TOKENS, WIDTH), "resnet56": (32, 32, 3)}
FINAL = 0.5


def build_transformer(way):
    """Returns a pre-norm encoder, with two residual connections in each layer."""
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
    from zoo.networks.small_images.resnet import stochastic_resnet

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
    clock, processor = compare(take_turns(steps, rounds), "Residual", "plain")
    return {"batch": batch, "operations": operations, "clock": clock, "processor": processor}


def take_turns(steps, rounds, wanted=1.0):
    """Returns the seconds of a step of each by the clock and by the processor, by round.

    In a round, the steps of the slowest take about `wanted` seconds.
    """
    for step in steps.values():
        seconds(step, 2)  # traces
    number = min(count_steps(wanted, step) for step in steps.values())

    def timer(step):
        found = time_by_both_clocks(lambda: [step() for _ in range(number)])
        return [taken / number for taken in found]

    return alternate({name: lambda step=step: timer(step) for name, step in steps.items()}, rounds)


def compare(times, name, other):
    """Returns the spread of the ratio by the clock, and by the processor."""
    return [
        ratio({each: [pair[kind] for pair in times[each]] for each in (name, other)}, name, other) for kind in (0, 1)
    ]


def measure_tensorflow(network, batch, rounds):
    """Returns the seconds of a step of each way, by round."""
    x, y = random_batch(SHAPES[network], batch)
    models = {way: compile_for_training(build_network(network, way)) for way in WAYS}
    return take_turns({way: lambda model=model: model.train_on_batch(x, y) for way, model in models.items()}, rounds)


def measure_start(network, way, batch):
    """Returns the seconds of the first step by both clocks, and the MiB of the tensors of later ones."""
    import tensorflow as tf

    model = compile_for_training(build_network(network, way))
    x, y = random_batch(SHAPES[network], batch)
    first = time_by_both_clocks(lambda: model.train_on_batch(x, y))
    taken = []
    for _ in range(8):
        tf.config.experimental.reset_memory_stats("CPU:0")
        before = tf.config.experimental.get_memory_info("CPU:0")["current"]
        model.train_on_batch(x, y)
        taken.append(tf.config.experimental.get_memory_info("CPU:0")["peak"] - before)
    return first, max(taken) / 2**20


def measure_resident(network, way, batch):
    return measure_growth(lambda: build_network(network, way), [batch], 8)["batches"][0]["MiB"]


def measure_jax(network, batch, rounds, starts):
    """Returns for each way the seconds of a step and of each start by both clocks, and the MiB of a step."""
    import jax

    x, y = random_batch(SHAPES[network], batch)
    makers = {way: make_jax_step(build_network(network, way)) for way in WAYS}
    compiled = {}

    def start(way):
        jax.clear_caches()
        function, arguments = makers[way]
        compiled[way] = jax.jit(lambda *values: function(*values)).lower(*arguments, x, y).compile()

    first = alternate({way: lambda way=way: time_by_both_clocks(lambda: start(way)) for way in WAYS}, starts)
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


def summarise(times, first, taken, resident=None):
    """Returns for each way the seconds of a step, and its ratios to the network without drops."""
    rows = {}
    for way in WAYS:
        clock, processor = compare(times, way, "none")
        rows[way] = {
            "seconds": spread([pair[0] for pair in times[way]]),
            "clock": clock,
            "processor": processor,
            "MiB": taken[way],
            "tensors": taken[way] / taken["none"],
            "first step": spread([pair[0] for pair in first[way]]),
            "start": compare(first, way, "none")[1],
        }
        if resident:
            rows[way]["resident"] = resident[way] / resident["none"]
    return rows


def measure_drops(network, backend, options):
    """Returns the rows of one network on one backend."""
    module, batch, environment = __spec__.name, options.batch, {"KERAS_BACKEND": backend}
    if backend == "jax":
        arguments = network, batch, options.rounds, options.starts
        found = run_in_own_process(module, "jax", *arguments, environment=environment)
        return summarise(found["times"], found["first"], found["MiB"])
    times = run_in_own_process(module, "tensorflow", network, batch, options.rounds, environment=environment)
    resident = {way: run_in_own_process(module, "resident", network, way, batch) for way in WAYS}
    first, taken = {way: [] for way in WAYS}, dict.fromkeys(WAYS, 0.0)
    counted = environment | {"TF_CPU_ALLOCATOR_USE_BFC": "true"}  # the default allocator keeps no count
    for _ in range(options.starts):
        for way in WAYS:
            both_clocks, peak = run_in_own_process(module, "start", network, way, batch, environment=counted)
            first[way].append(both_clocks)
            taken[way] = max(taken[way], peak)
    return summarise(times, first, taken, resident)


CASES = {
    "jax": measure_jax,
    "tensorflow": measure_tensorflow,
    "start": measure_start,
    "resident": measure_resident,
}


def case(what, *arguments):
    return CASES[what](*arguments)


def describe(row):
    resident = f", resident {row['resident']:.2f}" if "resident" in row else ""
    return (
        f"{row['seconds']['median']:.3f} s, by the clock {format_spread(row['clock'])}, by the processor "
        f"{format_spread(row['processor'])}; {row['MiB']:.0f} MiB, {row['tensors']:.2f}{resident}; "
        f"first step {row['first step']['median']:.1f} s, {format_spread(row['start'])}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("cost", *SHAPES), nargs="+", default=["cost", *SHAPES])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--starts", type=int, default=3, help="how often to measure each first step")
    options = parse_options(parser, case)
    backends = ["tensorflow", *(["jax"] if importlib.util.find_spec("jax") else [])]
    figures = {"cost": {}, "drops": {}}
    if "cost" in options.only:
        for width in WIDTHS:
            figures["cost"][width] = found = measure_cost(width, options.rounds)
            print(
                f"Residual / plain, width {width}: {format_spread(found['clock'])}, {found['operations']}", flush=True
            )
    for network in [name for name in options.only if name != "cost"]:
        figures["drops"][network] = {}
        for backend in backends:
            figures["drops"][network][backend] = found = measure_drops(network, backend, options)
            for way, row in found.items():
                print(f"{network}, {backend}, {way}: {describe(row)}", flush=True)
    if options.json:
        arguments = {"batch": options.batch, "rounds": options.rounds, "starts": options.starts}
        write_result(options.json, arguments, figures)


if __name__ == "__main__":
    main()
