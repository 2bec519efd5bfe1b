"""What the networks for volumes share: the default input, since the papers agree on no size."""

INPUT_SHAPE = (64, 64, 64, 1)
CLASSES = 2
SIDES = ("depth", "height", "width")
