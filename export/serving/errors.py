"""The reasons why a request is not answered."""


class RequestError(ValueError):
    """A request cannot be answered because of a mistake of the client.

    Args:
        message: The message, which says what was expected and received.
        status: The HTTP status of the answer.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class QueueFull(Exception):
    """The queue or the memory for requests is full."""


class NotReady(Exception):
    """A model is not ready yet or no longer computes, or the server is about to end."""
