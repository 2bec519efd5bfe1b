"""Checks the data that a quantised export needs: labelled test inputs, and for int8 calibration inputs."""

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


def check_quantisation_data(
    endpoint: Endpoint,
    precision: Precision,
    samples: Samples | None,
    test: tuple[Samples, ArrayLike] | None,
    max_accuracy_drop: float,
) -> tuple[Batch | None, Batch, np.ndarray]:
    """Checks the test data of a quantised export, and for int8 its calibration inputs.

    Args:
        endpoint: The exported function.
        precision: One of `QUANTISED`.
        samples: Calibration inputs; only int8 needs them.
        test: Raw inputs, and the class of each.
        max_accuracy_drop: In percentage points.

    Returns:
        The calibration inputs, the test inputs and the test labels.

    Raises:
        ExportError: If the weights take more than 2 GB.
        ValueError: If data are missing or do not fit the network, or it is no classifier.
    """
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
