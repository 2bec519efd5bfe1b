"""The settings of the matrix."""

OPSETS, BATCHES = (13, 15, 17, 18), (1, 7, 32)
PRECISIONS = ("fp32", "fp16", "int8")
# Opsets above 18 are measured on request, for layers and networks up to this size.
LAST_OPSET_OF_ALL, MAX_PARAMETERS_ABOVE = OPSETS[-1], 5_000_000
IMAGES = 256

# Networks with more parameters are left out; networks for larger images run on images of this side.
MAX_PARAMETERS, SIDE = 30_000_000, 64

# Networks without trained weights learn for so many steps, at most so often.
STEPS, ROUNDS, BATCH_SIZE, LEARNING_RATE = 50, 6, 16, 1e-3
# A training step of 1202 layers takes 14 GB as TensorFlow's graph; without a graph it is three times slower.
MAX_DEPTH_OF_GRAPH = 500
# A training step of densenet_bc_190_40 takes 19 GB, and a quarter of that on images of half the side.
MAX_MULTIPLY_ADDS = 5_000_000_000

# The points of accuracy that int8 may lose.
MAX_DROP = 0.5
