"""Exports the networks of keras.applications, and measures how near to Keras the exports are.

    python -m benchmarks.export.applications [PATTERN]

Each has new weights and takes images of any size, and its normalisations have the mean and the variance of a batch.
`export.export` writes it as ONNX and compares it with Keras on images of that size and of a larger one. A line gives
the largest difference, relative to the largest output, or the error. New weights magnify rounding, so the line also
says how far Keras's own answers move when every pixel grows by a millionth.
"""

import fnmatch
import sys
import tempfile
import time

import keras
import numpy as np

import export

from .matrix.learning import fit_normalisation

NAMES = (
    *("ConvNeXtTiny", "DenseNet121", "EfficientNetB0", "EfficientNetV2B0", "InceptionResNetV2", "InceptionV3"),
    *("MobileNet", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small", "NASNetMobile", "ResNet50", "ResNet50V2"),
    *("VGG16", "Xception"),
)
SIZE = 137


def main():
    pattern = sys.argv[1] if len(sys.argv) > 1 else "*"
    for name in fnmatch.filter(NAMES, pattern):
        start = time.perf_counter()
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        model = getattr(keras.applications, name)(
            weights=None, include_top=False, input_shape=(None, None, 3), pooling="avg"
        )
        images = np.random.default_rng(0).normal(size=(8, SIZE, SIZE, 3)).astype("float32")
        try:
            fit_normalisation(model, images)
            with tempfile.TemporaryDirectory() as folder:
                options = {"formats": "onnx", "samples": images[:2], "batch_sizes": (1, 2), "rtol": 1e-2}
                parity = export.export(model, f"{folder}/a", **options).parity
            moved = [np.asarray(model(x, training=False)) for x in (images, images * np.float32(1 + 1e-6))]
            own = np.max(np.abs(moved[0] - moved[1])) / np.max(np.abs(moved[0]))
            line = f"{parity['max_rel_diff']:.1e}, Keras's own {own:.1e}"
        except Exception as error:
            # A refusal is a result too.
            line = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        print(f"{name}: {line} ({time.perf_counter() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
