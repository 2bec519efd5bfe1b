"""Why a request is not answered."""


class RequestError(ValueError):
    """A request that cannot be answered, by the client's fault.

    Args:
        message: What was expected, and what was received.
        status: The HTTP status that says so.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class QueueFull(Exception):
    """As many requests wait as may, or hold as much memory."""


class NotReady(Exception):
    """A model has not proven itself yet, or does not compute any more, or the server is about to end."""
