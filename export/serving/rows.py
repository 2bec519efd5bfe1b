"""Answers rows of a table that clients send as JSON: values by the name of their column in, classes or numbers out."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from ..prediction.network import infer_task, list_names
from ..storage.arrays import Batch
from ..storage.manifest import gates_output
from ..storage.schema import takes_rows
from ..tables import Columns
from .classification import name_classes, read_top
from .errors import RequestError
from .offloading import offload
from .protocol.json_arrays import parse_json
from .protocol.v2 import is_finite

_CELLS = (str, int, float, bool, type(None))


class RowReader:
    """Turns rows into a batch for a model, and its outputs into an answer.

    Args:
        artifact: The contents of artifact.json.
        name: The name of the model for clients.

    Attributes:
        wanted: What a model must have for it, in error messages.
        offered: Whether the artifact records how rows are read, and gives classes or numbers.
    """

    wanted = "a model that records how rows of a table are read, and gives classes or numbers"

    def __init__(self, artifact: Mapping[str, Any], name: str) -> None:
        self._name = name
        table: Mapping[str, Any] = artifact.get("table") or {}
        outputs = [output for output in artifact["outputs"] if output["name"] != gates_output(artifact)]
        self.offered = bool(table) and _takes_rows(artifact["inputs"], outputs, len(table["inputs"]))
        if not self.offered:
            return
        self._columns = Columns.from_dict(table)
        self._input = artifact["inputs"][0]["name"]
        self._output, self._value = outputs[0]["name"], "score" if artifact["activation"] is None else "probability"
        self._task = artifact.get("task") or infer_task(artifact, outputs[0])
        self._names = list_names(artifact, outputs[0], self._task, -1)

    @property
    def columns(self) -> list[dict[str, Any]]:
        """The name, the kind and the values of each column, ready for JSON."""
        columns: list[dict[str, Any]] = self._columns.to_dict()["inputs"]
        return columns

    def check(self, content_type: str) -> None:
        """Raises a RequestError unless the content type is application/json."""
        if content_type.partition(";")[0].strip().lower() != "application/json":
            raise RequestError(
                f"Expected rows as application/json. Received: {content_type[:80] or 'no content type'}", 415
            )

    async def decode(self, content: bytes) -> Batch:
        """Encodes the rows of a body as a batch.

        Raises:
            RequestError: If they are not rows with the model's columns, or a value is not of its column's kind.
        """
        return await offload(len(content), self._read, content)

    def _read(self, content: bytes) -> Batch:
        body = parse_json(content)
        rows = body.get("rows") if isinstance(body, dict) else None
        if not isinstance(rows, list):
            raise RequestError('Expected {"rows": [{"COLUMN": VALUE, ...}, ...]}. Received: other JSON')
        for number, row in enumerate(rows, 1):
            self._check_row(row, number)
        try:
            return {self._input: self._columns.encode_rows(rows, missing="null")}
        except ValueError as error:
            raise RequestError(str(error)) from None

    def _check_row(self, row: Any, number: int) -> None:
        if not isinstance(row, dict):
            raise RequestError(f"Expected each row to be an object. Received: row {number} is something else")
        for name in self._columns.names:
            if not isinstance(row.get(name), _CELLS):
                kind = "array" if isinstance(row[name], list) else "object"
                raise RequestError(f"Expected one value in column {name!r}. Received: an {kind} in row {number}")

    def render(self, batch: Batch, outputs: Batch, query: Mapping[str, str]) -> bytes:
        """Renders the body that answers a request: for each row its classes, or its numbers by name.

        Args:
            batch: The encoded rows.
            outputs: Every output of the model.
            query: "top" is the number of classes to name.

        Raises:
            RequestError: If a parameter is wrong, or the model does not give finite numbers.
        """
        if not is_finite(outputs[self._output]):
            raise RequestError("Expected rows for which the model gives finite numbers. Received: NaN or infinity")
        top = read_top(query)
        return orjson.dumps(
            {"model_name": self._name, "rows": [self._render_row(y, top) for y in outputs[self._output]]}
        )

    def _render_row(self, y: np.ndarray, top: int) -> dict[str, Any]:
        if self._task == "regression":
            return {"numbers": {name: float(value) for name, value in zip(self._names, y, strict=True)}}
        return {"classes": name_classes(y, self._names, top, self._value)}


def _takes_rows(inputs: list[dict[str, Any]], outputs: list[dict[str, Any]], columns: int) -> bool:
    """Whether a network takes rows of so many columns, and gives a known number of values for each."""
    if len(outputs) != 1 or not takes_rows(inputs, columns):
        return False
    given = outputs[0]["shape"]
    return len(given) == 2 and given[1] is not None
