"""On JAX nothing of the training, its events included, needs TensorFlow to be installed."""

from tests.processes import run_code

SCRIPT = """
import sys
sys.modules["tensorflow"] = None  # `import tensorflow` raises ModuleNotFoundError
import zoo
seen = []
from zoo.data import Batches
batch = Batches.batch
Batches.batch = lambda self, *place: seen.append((self.batch_size, self.seed, *place)) or batch(self, *place)
run = zoo.train("plain_mlp_digits", out="run", epochs=2, batch_size=32, **{"arguments.depth": 3})
# Others are those of the evaluation, and the larger one on which the report measures the gradient.
training = [place for size, seed, *place in seen if size == 32 and seed is not None]
assert sorted(training) == [[epoch, step] for epoch in range(2) for step in range(45)], training
assert zoo.evaluate(run)["accuracy"] == run.results["test_accuracy"]
assert list((run.path / "tensorboard").iterdir())
"""


def test_a_run_on_jax_without_tensorflow_sees_each_batch_once(tmp_path):
    run_code(SCRIPT, cwd=tmp_path, KERAS_BACKEND="jax")
