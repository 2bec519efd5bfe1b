"""What the networks for volumes share: the shape of an input, which has no size that all papers agree on."""

INPUT_SHAPE = (64, 64, 64, 1)
CLASSES = 2
SIDES = ("depth", "height", "width")
