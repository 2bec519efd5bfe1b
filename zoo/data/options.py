"""The options of `load_source` for reading files."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from export.images import RESIZES, ImageReader, check_size

# Called with how much is read and how much there is: files, or bytes of a tar.
Progress = Callable[[int, int], None]
OnBadImage = Literal["error", "skip"]
ON_BAD_IMAGE: tuple[OnBadImage, ...] = ("error", "skip")


@dataclass(frozen=True)
class Options:
    """The options for reading files; all of them are part of the key in the cache.

    Attributes:
        image_size: Height and width that all images are resized to. None: as they are.
        resize: "crop" keeps the proportions and cuts out the centre, "stretch" does not.
        split_seed: Seed that chooses the test images, if the files do not say which they are.
        test_fraction: Fraction of each class to choose.
        on_bad_image: What to do with images that cannot be read.
    """

    image_size: tuple[int, int] | None = None
    resize: str = "crop"
    split_seed: int = 0
    test_fraction: float = 0.2
    on_bad_image: str = "error"

    def __post_init__(self) -> None:
        if self.image_size is not None:
            object.__setattr__(self, "image_size", check_size("image_size", self.image_size))
        if self.resize not in RESIZES:
            raise ValueError(f"Expected resize to be one of {', '.join(RESIZES)}. Received: resize={self.resize!r}")
        if not isinstance(self.split_seed, int) or self.split_seed < 0:
            raise ValueError(
                f"Expected split_seed to be an integer of at least 0. Received: split_seed={self.split_seed!r}"
            )
        if not 0 < self.test_fraction < 1:
            raise ValueError(
                f"Expected test_fraction to be between 0 and 1. Received: test_fraction={self.test_fraction!r}"
            )
        object.__setattr__(self, "test_fraction", float(self.test_fraction))
        if self.on_bad_image not in ON_BAD_IMAGE:
            raise ValueError(
                f"Expected on_bad_image to be one of {', '.join(ON_BAD_IMAGE)}. "
                f"Received: on_bad_image={self.on_bad_image!r}"
            )

    @property
    def reader(self) -> ImageReader:
        """Reads image files, each grey or in colour as it is."""
        return ImageReader(self.image_size, channels=None, resize=self.resize)

    def as_dict(self) -> dict[str, list[int] | int | float | str | None]:
        """The options as plain data."""
        size = None if self.image_size is None else list(self.image_size)
        return {**vars(self), "image_size": size}
