"""The predictions of a regression: figures and a chart of each target, and the largest errors."""

import numpy as np

from ...analysis import charts
from ...analysis.charts._base import make_axes
from ...data import Source
from ...tasks.task import spread
from ._curves import arrange_charts
from ._tables import grid

# More charts or points are not readable.
TARGETS, POINTS = 6, 1000
ERRORS = 12


def show(predictions: np.ndarray, source: Source) -> str:
    """Writes all sections, of the predictions for the test inputs."""
    return (
        f"<h2>Targets</h2>{figures(predictions, source)}{scatter(predictions, source)}"
        "<h2>Largest errors</h2><p>The test examples whose errors are the largest, in standard deviations of the "
        f"target in training.</p>{largest_errors(predictions, source)}"
    )


def figures(predictions: np.ndarray, source: Source) -> str:
    """Lists the figures of each target, next to its mean and standard deviation in training."""
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    truth, training = np.asarray(source.test_targets), np.asarray(source.train_targets, "float64")
    rows = [
        {
            "target": name,
            "R²": float(r2_score(truth[:, place], predictions[:, place])),
            "MAE": float(mean_absolute_error(truth[:, place], predictions[:, place])),
            "RMSE": float(root_mean_squared_error(truth[:, place], predictions[:, place])),
            "mean in training": float(training[:, place].mean()),
            "standard deviation": float(training[:, place].std()),
        }
        for place, name in enumerate(source.target_names)
    ]
    return grid(rows)


def scatter(predictions: np.ndarray, source: Source) -> str:
    """Draws the predictions against the truth, of the first targets."""
    shown, truth = spread(POINTS, len(predictions)), np.asarray(source.test_targets)
    drawn = []
    with charts.use_page_theme():
        for place, name in enumerate(source.target_names[:TARGETS]):
            true, predicted = truth[shown, place], predictions[shown, place]
            figure, target = make_axes(name, "true", "predicted", size=(4.2, 3.4))
            ends = [min(true.min(), predicted.min()), max(true.max(), predicted.max())]
            target.plot(ends, ends, color=charts.COLOURS[6], linewidth=1)
            target.plot(true, predicted, "o", color=charts.COLOURS[0], markersize=3, alpha=0.6)
            drawn.append(charts.svg(figure, f"Predictions of {name} against the truth, {len(shown)} test examples"))
    return arrange_charts(drawn)


def largest_errors(predictions: np.ndarray, source: Source) -> str:
    """Lists the largest errors of all targets together."""
    truth = np.asarray(source.test_targets)
    errors = np.abs(predictions - truth) / np.asarray(source.train_targets, "float64").std(axis=0)
    worst = np.argsort(errors, axis=None, kind="stable")[::-1][:ERRORS]
    places = [np.unravel_index(index, errors.shape) for index in worst]
    return grid(
        [
            {
                "example": int(example),
                "target": source.target_names[place],
                "true": float(truth[example, place]),
                "predicted": float(predictions[example, place]),
                "error": float(errors[example, place]),
            }
            for example, place in places
        ]
    )
