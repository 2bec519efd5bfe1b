"""The names of onnxruntime's execution providers."""

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
DEVICES = {"cpu": CPU, "cuda": CUDA}
