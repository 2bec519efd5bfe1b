"""Rewrites ONNX files in fp16 and int8, and says how close to Keras each must stay."""
