"""Converts Keras models to SavedModels and to ONNX.

saved_model.py       writes, checks and loads a SavedModel
onnx_model.py        writes an ONNX file, and checks it with onnx and onnxruntime
conversion.py        from an endpoint to an ONNX model, which it refuses if the converter has failed
translation.py       from TensorFlow's graph to ONNX with tf2onnx, and past it with large weights
operations/          operations that tf2onnx does not know, or gets wrong
optimisation.py      tf2onnx's optimisations of an ONNX graph, and a correction
versions.py          opsets, IR versions, and the versions of onnxruntime that read them
naming.py            names nodes, values and constants after layers
simplification.py    removes leftovers of the conversion
operation_counts.py  counts and checks the operations of a model
dimensions.py        names dynamic dimensions
graph.py             walks and edits ONNX graphs
"""
