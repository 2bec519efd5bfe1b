"""What a network learns to predict: a file for each task, behind the interface `Task` of task.py.

classification.py   the class of each example; classification_loss.py has its binary cross-entropy
regression.py       numbers
segmentation.py     the class of each pixel

A new task is a file, and a line in `TASKS`; its sections of the report are in `zoo.reports.page`. Importing this
package does not import Keras.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .._names import unknown
from . import classification, regression, segmentation
from .task import Task as Task

if TYPE_CHECKING:
    from ..data.source import Source

TASKS: dict[str, Task] = {module.TASK.name: module.TASK for module in (classification, regression, segmentation)}


def task_of(source: "Source | Mapping[str, Any] | str") -> Task:
    """The task of a source, of the record of one, or of a name.

    Raises:
        ValueError: If there is no such task.
    """
    if isinstance(source, str):
        name = source
    elif isinstance(source, Mapping):
        # The records of older runs do not name their task.
        name = source.get("task", classification.TASK.name)
    else:
        name = source.task
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]
