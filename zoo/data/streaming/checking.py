"""Decodes all images once to leave out those that cannot be read, so that no batch lacks one later."""

from collections.abc import Callable

from export.archives import Entry
from export.images import BadImage, open_image

from ..decoding import decode
from .files import Files


def find_damaged(files: Files, progress: Callable[[int, int], None] | None) -> dict[int, str]:
    """Finds the images that cannot be decoded, each with its name and the reason.

    A JPEG is read to its end, at an eighth of its size.

    Args:
        files: The images.
        progress: Called with how many are done and how many there are.
    """

    def check(place: int) -> str:
        try:
            open_image(files.read(place), least=lambda height, width: (1, 1))
        except (BadImage, OSError) as error:
            return f"{files.name(place)} ({error})"
        return ""

    checked = decode(range(len(files)), check, progress, lambda place: Entry("", None, 0, place + 1, len(files)))
    return {place: fault for place, fault in checked if fault}
