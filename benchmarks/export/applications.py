"""Whether the networks of keras.applications export, and how near to Keras they are.

    PYTHONPATH=. python benchmarks/export_applications.py [PATTERN]

Each is built with new weights for images of any size, its normalisations are given the mean and the variance of a
batch, and `export.export` writes it as ONNX and compares it with Keras on images of that size and of a larger one. A
line tells the largest difference, in proportion to the largest output, or why it was refused. New weights magnify
rounding: beside it stands how far Keras's own answers move when every pixel does by a millionth of itself.
"""

import fnmatch
import os
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from export_matrix import settle

import export

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
            settle(model, images)
            with tempfile.TemporaryDirectory() as folder:
                options = {"formats": "onnx", "samples": images[:2], "batch_sizes": (1, 2), "rtol": 1e-2}
                parity = export.export(model, f"{folder}/a", **options).parity
            moved = [np.asarray(model(x, training=False)) for x in (images, images * np.float32(1 + 1e-6))]
            own = np.max(np.abs(moved[0] - moved[1])) / np.max(np.abs(moved[0]))
            told = f"{parity['max_rel_diff']:.1e}, Keras's own {own:.1e}"
        except Exception as error:
            # That one is refused is a result too.
            told = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        print(f"{name}: {told} ({time.perf_counter() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
