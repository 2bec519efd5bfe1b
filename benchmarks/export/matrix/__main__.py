"""Every network of the zoo up to 30M parameters and every layer, in each precision, opset and batch: `make matrix`.

    python -m benchmarks.export.matrix [--data NAME=PATH ...] [--only PATTERN] [--minutes N] [--table]

A network is converted once for each opset; fp16 and int8 are made of that file, and one session of onnxruntime (all
optimisations, CPU) runs each on 256 images at batches of 1, 7 and 32. fp16 has as little in float32 as it takes, and
also runs with the rounding of a GPU; the worse of the two counts, as in an export. Each cell holds the largest
difference of a probability from Keras and the agreement of the arg-max. Networks with trained weights also hold the
accuracy on all test images, and int8 is judged by it. Others learn for 50 steps first, since what is new magnifies
rounding and answers nearly alike whatever the image is; for 300 at most, until the answers for two images differ by
twice the limit of fp16, in the median. Where they do not, being within that limit does not count. Networks for ImageNet
run on 64 x 64 pixels. One of more than 5 billion multiply-adds learns on images of half its side.

Rows are appended to benchmarks/results/export_matrix.csv, opset by opset; whoever starts it again measures what is not
there, such as one precision of which the rows have been taken out. --data says where data are found that are not on
the way of `zoo.load_source`. --table only writes the page anew.
"""

import argparse
import csv
import fnmatch
import logging
import os
import tempfile
import time
from functools import cached_property, partial
from pathlib import Path

import keras
import numpy as np

import zoo
from export.convert.onnx_model import write_onnx
from export.errors import ParityError
from export.model.wrapping import make_endpoint
from export.precision.fp16 import convert_to_fp16, simulate_fp16
from export.precision.fp16_search import IN_FLOAT32
from export.precision.int8 import quantise_to_int8
from export.precision.quantisation import choose_settings
from export.precision.tolerances import TOLERANCES
from export.proof.parity import compare
from export.runtime.sessions import open_session, run_session
from zoo.training.learner import precision as precision_of
from zoo.weights.cards import card

ROOT = Path(__file__).parents[1]
CSV, PAGE = ROOT / "benchmarks/results/export_matrix.csv", ROOT / "benchmarks/results/export_matrix.md"
FIELDS = ("subject", "kind", "weights", "depth", "parameters", "opset", "precision", "batch", "images")
FIELDS += ("float32_layers", "float32_sums", "max_abs_diff", "argmax_agreement", "accuracy", "result", "seconds")
OPSETS, BATCHES, IMAGES = (13, 15, 17, 18), (1, 7, 32), 256
LARGEST, SIDE, MAX_DROP = 30_000_000, 64, 0.5
STEPS, ROUNDS, LEARNT_FROM, LEARNING_RATE = 50, 6, 16, 1e-3
HEAVY = 5_000_000_000


class Subject:
    """A network, or a layer as a network of its own, with images and what Keras makes of them."""

    def __init__(self, name, kind, depth, parameters, weights=""):
        self.name, self.kind, self.depth, self.parameters, self.weights = name, kind, depth, parameters, weights

    def open(self, sources):
        (self._open_layer if self.kind == "layer" else self._open_network)(sources)
        self._answer()
        for _ in range(ROUNDS - 1):
            if self.kind == "layer" or self.weights or self.tells_apart(TOLERANCES["fp16"]):
                break
            self._learn()
            self._answer()

    def _answer(self):
        parts = [self.function.numpy({self.input: self.images[i : i + 32]}) for i in range(0, IMAGES, 32)]
        self.expected = np.concatenate([next(iter(part.values())) for part in parts])
        self.spread = float(np.median(np.abs(self.expected - np.roll(self.expected, 1, axis=0)).max(axis=-1)))

    def tells_apart(self, tolerance):
        """Whether answers differ enough from image to image for a limit to mean anything."""
        return self.spread >= 2 * tolerance.atol

    def _open_layer(self, sources):
        from tests.export.models import randomise
        from tests.layers.table import CASES

        case = next(case for case in CASES if case.name == self.name)
        inputs = keras.Input(case.shape()[1:])
        model = randomise(keras.Model(inputs, case.make()(inputs)))
        self.images, self.calibration, self.labels = case.data(IMAGES), case.data(IMAGES, seed=1), None
        self.function = make_endpoint(model)

    def _open_network(self, sources):
        if self.weights:
            chosen = card(self.name, self.weights)
            source, model = sources(chosen.data["name"]), zoo.load(self.name, self.weights)
            preprocessing, shape = chosen.preprocessing, chosen.input_shape
        else:
            described = zoo.describe(self.name)
            source = sources("cifar10" if described.input_shape[-1] == 3 else "digits")
            shape = tuple(min(n, SIDE) for n in described.input_shape)
            preprocessing = source.preprocessing.as_dict()
            model = zoo.build(self.name, input_shape=shape)
        self.model = model
        self.images, self.calibration = (
            resized(picked(images, IMAGES), shape) for images in (source.test_images, source.train_images)
        )
        self.function = make_endpoint(model, {"dtype": "uint8", **preprocessing}, "softmax")
        self.labels = None
        if self.weights:
            self.test, self.labels = np.asarray(source.test_images), np.asarray(source.test_labels)
        else:
            images = resized(picked(source.train_images, STEPS * LEARNT_FROM), shape)
            inputs = self.function.inputs[0].preprocessing.apply(images)
            # TensorFlow's graph of a training step of 1202 layers takes 14 GB; without one it is three times slower.
            eagerly = self.depth > 500
            # That of densenet_bc_190_40 takes 19 GB, and a quarter on images of half the side.
            heavy = described.multiply_adds > HEAVY
            learner = zoo.build(self.name, input_shape=(*(n // 2 for n in shape[:2]), shape[2])) if heavy else model
            self._learn = partial(teach, model, learner, inputs, picked(source.train_labels, len(images)), eagerly)
            self._learn()

    @cached_property
    def own_error(self):
        """How far the probabilities of Keras in float32 are themselves from those of the same network in float64."""
        with precision_of("float64"):
            exact = zoo.build(self.name, input_shape=self.model.input_shape[1:])
        for variable, trained in zip(exact.weights, self.model.weights, strict=True):
            variable.assign(trained.numpy().astype("float64"))
        images = self.function.inputs[0].preprocessing.apply(self.images).astype("float64")
        return float(np.max(np.abs(keras.ops.softmax(exact.predict(images, batch_size=32, verbose=0)) - self.expected)))

    @property
    def input(self):
        return self.function.inputs[0].name


def picked(examples, count):
    """Some from all of them, whose order may be that of their classes."""
    return np.asarray(examples[np.linspace(0, len(examples) - 1, count).astype(int)])


def resized(images, shape):
    """Images of another size: every pixel of the result is one of the image's."""
    rows, columns = (np.arange(n) * images.shape[axis] // n for axis, n in ((1, shape[0]), (2, shape[1])))
    images = images[:, rows][:, :, columns]
    return images if images.shape[-1] == shape[-1] else np.repeat(images[..., :1], shape[-1], axis=-1)


def teach(model, learner, images, labels, eagerly):
    """Trains a network for a moment, or in its place one that takes smaller images."""
    order = np.random.default_rng(0).permutation(len(images))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner.compile(keras.optimizers.Adam(LEARNING_RATE), loss, jit_compile=False, run_eagerly=eagerly)
    seen = resized(images[order], learner.input_shape[1:])
    learner.fit(seen, labels[order], batch_size=LEARNT_FROM, shuffle=False, verbose=0)
    if learner is not model:
        model.set_weights(learner.get_weights())
    settle(model, images[order[: 4 * LEARNT_FROM]])


def settle(model, x):
    """Gives every normalisation the mean and the variance of a batch; a branch that were dropped would see none."""
    settings = {"momentum": 0.0, "survival_prob": 1.0}
    layers = model._flatten_layers()
    before = [(layer, name, getattr(layer, name)) for layer in layers for name in settings if hasattr(layer, name)]
    for layer, name, _ in before:
        setattr(layer, name, settings[name])
    model(x, training=True)
    for layer, name, value in before:
        setattr(layer, name, value)


def subjects(pattern):
    from tests.layers.table import CASES

    found = [Subject(case.name, "layer", 3, 0) for case in CASES]
    for name in zoo.list_models():
        described = zoo.describe(name)
        if described.parameters <= LARGEST:
            for weights in described.weights or ("",):
                if weights == "imagenet":
                    weights = ""
                found.append(Subject(name, "network", described.depth, described.parameters, weights))
    unique = {(s.kind, s.name, s.weights): s for s in found if fnmatch.fnmatchcase(s.name, pattern)}
    return sorted(unique.values(), key=lambda s: (s.depth, s.parameters))


def cells(subject, opset, wanted, folder):
    """The rows of a subject and an opset in some precisions, and in float32, of which the others are made."""
    files, reached = {name: folder / f"{name}.onnx" for name in TOLERANCES}, {}
    for precision in (name for name in TOLERANCES if name == "fp32" or name in wanted):
        about, start = {"opset": opset, "precision": precision}, time.perf_counter()
        try:
            if wanted == ["fp16"] and precision == "fp32":
                write(subject, opset, precision, files)
                continue
            for share, sums in IN_FLOAT32 if precision == "fp16" else IN_FLOAT32[:1]:
                about |= write(subject, opset, precision, files, share, sums)
                session = open_session(files[precision], options=session_options())
                rows = [cell(subject, answers(subject, session, batch), precision) for batch in BATCHES]
                if precision == "fp16":
                    simulate_fp16(files["fp32"], simulated := folder / "simulated.onnx", share, sums)
                    rounding = answers(subject, open_session(simulated, options=session_options()), BATCHES[-1])
                    rows = [max(row, cell(subject, rounding, precision), key=badness) for row in rows]
                if all(row["result"] == "passed" for row in rows):
                    break
            if subject.labels is not None:
                reached[precision] = about["accuracy"] = accuracy(subject, session)
        except Exception as error:
            # A cell that cannot be made is a result too.
            sentence = " ".join(f"{type(error).__name__}: {error}".split())
            rows = [{"result": sentence[:300]} for _ in BATCHES]
        if precision == "int8" and {"fp32", "int8"} <= reached.keys():
            drop = 100 * (reached["fp32"] - reached["int8"])
            judged = "passed" if drop <= MAX_DROP + 1e-9 else f"{drop:.2f} points less accurate"
            rows = [row | ({"result": judged} if row["result"] == "told" else {}) for row in rows]
        seconds = round((time.perf_counter() - start) / len(rows), 2)
        for batch, row in zip(BATCHES, rows, strict=True):
            yield about | row | {"batch": batch, "seconds": seconds}


def write(subject, opset, precision, files, share=0.0, sums=False):
    """Makes the file of a precision; gives what there is to tell of it."""
    if precision == "fp32":
        write_onnx(subject.function, files["fp32"], opset)
    elif precision == "fp16":
        exact, _ = convert_to_fp16(files["fp32"], files["fp16"], share, sums)
        return {"float32_layers": exact, "float32_sums": sums or ""}
    else:
        chosen = choose_settings()
        calibration = [{subject.input: subject.calibration}]
        quantise_to_int8(files["fp32"], files["int8"], calibration, chosen.activations, chosen.reduce_range)
    return {}


def session_options():
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", 0))
    return options


def accuracy(subject, session):
    decided = [
        next(iter(run_session(session, {subject.input: subject.test[i : i + 256]}).values())).argmax(-1)
        for i in range(0, len(subject.test), 256)
    ]
    return round(float(np.mean(np.concatenate(decided) == subject.labels)), 5)


def answers(subject, session, batch):
    parts = [
        next(iter(run_session(session, {subject.input: subject.images[i : i + batch]}).values()))
        for i in range(0, IMAGES, batch)
    ]
    return np.concatenate(parts)


def badness(row):
    return row["result"] != "passed", row["max_abs_diff"]


def cell(subject, received, precision):
    tolerance = TOLERANCES[precision]
    probabilities = subject.kind == "network"
    limits = {"atol": tolerance.atol, "rtol": 0.0 if probabilities else tolerance.rtol}
    row = {"max_abs_diff": float(np.max(np.abs(received - subject.expected))), "result": "passed"}
    row["argmax_agreement"] = round(float(np.mean(received.argmax(-1) == subject.expected.argmax(-1))), 5)
    try:
        record = compare(
            {"images": subject.expected},
            {"images": received},
            {"images": subject.images},
            names=("Keras", "onnxruntime"),
            **limits,
            agreement=tolerance.agreement,
            decision="argmax" if probabilities else None,
        )
        # Ties left out: what hangs on less than the tolerance.
        row["argmax_agreement"] = "" if record.argmax_agreement is None else record.argmax_agreement
    except ParityError as error:
        row["result"] = str(error)
        if precision == "fp32" and probabilities:
            row["result"] += f". Keras in float32 is itself {subject.own_error:.1e} from the network in float64"
    if precision == "int8" and row["result"] == "passed":
        row["result"] = "told"
    elif row["result"] == "passed" and probabilities and not subject.tells_apart(tolerance):
        row["result"] = f"Expected answers that depend on the image. Received: {subject.spread:.1e} between two images"
    return row


def read():
    if not CSV.exists():
        return []
    with CSV.open(newline="") as file:
        return list(csv.DictReader(file))


def append(rows):
    fresh = not CSV.exists()
    CSV.parent.mkdir(exist_ok=True)
    with CSV.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if fresh:
            writer.writeheader()
        writer.writerows(rows)


def measured(rows):
    return {(row["subject"], row["weights"], row["opset"], row["precision"]) for row in rows}


def missing(subject, opset, done):
    """The precisions in which a subject has not been measured at an opset."""
    return [name for name in TOLERANCES if (subject.name, subject.weights, str(opset), name) not in done]


def waiting(pattern, done):
    """The subjects of which something has not been measured, and at which opsets."""
    found = [(subject, [opset for opset in OPSETS if missing(subject, opset, done)]) for subject in subjects(pattern)]
    return [(subject, opsets) for subject, opsets in found if opsets]


def page(rows):
    """A row for each subject, opset by opset: the worst of the batches."""
    groups = {}
    for row in rows:
        groups.setdefault((row["kind"], row["subject"], row["weights"]), []).append(row)
    passed = sum(row["result"] == "passed" for row in rows)
    told = sum(row["result"] == "told" for row in rows)
    lines = [
        "# Export matrix",
        "",
        "`make matrix` measures the missing cells and writes this page; benchmarks/export_matrix.py explains how.",
        "The table gives the largest difference of probabilities from Keras (for layers, of outputs) over opsets 13,",
        f"15, 17 and 18, batches 1, 7 and 32, and {IMAGES} images. For int8 it gives the accuracy of the worst opset.",
        "In brackets it says how many layers fp16 leaves in float32, if that is more than the first, and whether it",
        "leaves the sums of skip connections too. A network without trained weights was trained for",
        f"{STEPS} steps, or up to {ROUNDS * STEPS} until it tells images apart.",
        "",
        f"Of {len(rows)} cells, {passed} are within their limits, {len(rows) - passed - told} are not, and {told}",
        "have none: int8 without trained weights. export_matrix.csv has each cell.",
        "",
        "| | weights | opsets | fp32 | fp16 | int8 | accuracy fp32 | int8 | not within limits |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (_, name, weights), group in groups.items():
        of = {p: [r for r in group if r["precision"] == p] for p in TOLERANCES}
        shown = " | ".join(largest(of[p]) for p in TOLERANCES)
        reached = [min((float(r["accuracy"]) for r in of[p] if r["accuracy"]), default=None) for p in ("fp32", "int8")]
        opsets = ", ".join(sorted({r["opset"] for r in group}))
        failed = sorted({f"{r['precision']} at {r['opset']}" for r in group if r["result"] not in ("passed", "told")})
        accuracies = " | ".join("" if value is None else f"{value:.2%}" for value in reached)
        lines.append(f"| {name} | {weights} | {opsets} | {shown} | {accuracies} | {', '.join(failed)} |")
    left = [
        f"{titled(subject.name, subject.weights)} at opset {', '.join(map(str, opsets))}"
        for subject, opsets in waiting("*", measured(rows))
    ]
    if left:
        lines += ["", f"Not measured yet: {'; '.join(left)}."]
    failing = [row for row in rows if row["result"] not in ("passed", "told")]
    reasons = {(r["subject"], r["weights"], r["precision"]): r["result"] for r in failing}
    lines.append("")
    for (name, weights, precision), reason in reasons.items():
        lines.append(f"- {titled(name, weights)} in {precision}: {reason}")
    PAGE.write_text("\n".join(lines) + "\n")


def titled(name, weights):
    return f"{name} ({weights})" if weights else name


def largest(rows):
    """The largest difference, and what stays in float32 where that is not the first layer alone."""
    found = [float(row["max_abs_diff"]) for row in rows if row["max_abs_diff"]]
    exact = max((int(row["float32_layers"] or 0) for row in rows), default=0)
    sums = ", sums" if any(row["float32_sums"] for row in rows) else ""
    return f"{max(found):.1e}{f' ({exact}{sums})' if exact > 1 else ''}" if found else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", action="append", default=[], metavar="NAME=PATH", help="where data are found")
    parser.add_argument("--only", default="*", help="shell pattern of networks and layers")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--table", action="store_true", help="only write the page")
    options = parser.parse_args()
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    logging.getLogger().setLevel(logging.ERROR)
    paths, loaded = dict(entry.split("=", 1) for entry in options.data), {}

    def sources(name):
        if name not in loaded:
            loaded[name] = zoo.load_source(paths.get(name, name))
        return loaded[name]

    done = measured(read())
    todo = [] if options.table else waiting(options.only, done)
    start, cost, total = time.perf_counter(), 0.0, sum(s.depth * len(o) for s, o in todo)
    for subject, opsets in todo:
        keras.backend.clear_session(free_memory=False)
        keras.utils.set_random_seed(0)
        about = {"subject": subject.name, "kind": subject.kind, "weights": subject.weights}
        about |= {"depth": subject.depth, "parameters": subject.parameters, "images": IMAGES}
        try:
            subject.open(sources)
        except Exception as error:
            # What cannot be opened here, such as data that are not there, is for another day.
            print(f"{subject.name}: left out, {error!r}", flush=True)
            continue
        for opset in opsets:
            wanted = missing(subject, opset, done)
            with tempfile.TemporaryDirectory() as folder:
                rows = [row for row in cells(subject, opset, wanted, Path(folder)) if row["precision"] in wanted]
            append([about | row for row in rows])
            cost += subject.depth
            spent = time.perf_counter() - start
            results = {row["result"] for row in rows} - {"passed", "told"}
            print(
                f"{subject.name} {subject.weights} opset {opset}: {'; '.join(sorted(results)) or 'passed'} "
                f"({spent / 60:.1f} min, about {spent / cost * (total - cost) / 60:.0f} min to go)",
                flush=True,
            )
            if spent > options.minutes * 60:
                page(read())
                return
        page(read())
    page(read())


if __name__ == "__main__":
    main()
