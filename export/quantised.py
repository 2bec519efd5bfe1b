"""Checks the data that judge a quantised file: test inputs with their classes, and for int8 those to calibrate on."""

import numpy as np
from numpy.typing import ArrayLike

from .errors import ExportError
from .model.endpoint import Endpoint
from .model.inputs import count_examples
from .model.signature import Samples
from .precision.quantisation import check_test_data
from .precision.tolerances import INT8, Precision
from .proof.reference import check_samples
from .storage import onnx_files
from .storage.arrays import Batch


def check_test(
    endpoint: Endpoint,
    precision: Precision,
    samples: Samples | None,
    test: tuple[Samples, ArrayLike] | None,
    max_accuracy_drop: float,
) -> tuple[Batch | None, Batch, np.ndarray]:
    """Returns the calibration inputs, the test inputs and the test labels, or raises an error if they do not fit."""
    calibration = check_samples(endpoint, samples)
    lacks_calibration = precision == INT8 and calibration is None
    if test is None or lacks_calibration:
        missing = [name for name, absent in (("calibration=", lacks_calibration), ("test=", test is None)) if absent]
        wanted = "calibration= (or samples=) and test=" if precision == INT8 else "test="
        raise ValueError(
            f"Expected {wanted} with labels for precision={precision!r}. Received: no {' and no '.join(missing)}"
        )
    shapes = endpoint.output_shapes
    if len(shapes) != 1 or len(shapes[0]) != 2:
        raise ValueError(f"Expected a classifier for precision={precision!r}. Received: outputs of the shapes {shapes}")
    inputs, labels = check_samples(endpoint, test[0]), np.asarray(test[1])
    assert inputs is not None
    if (size := 4 * endpoint.model.count_params()) > onnx_files.LARGEST:
        raise ExportError(
            f"Expected at most 2 GB of weights for precision={precision!r}. Received: {size / 1e9:.1f} GB"
        )
    check_test_data(labels, count_examples(inputs), shapes[0][-1], max_accuracy_drop)
    return calibration, inputs, labels
