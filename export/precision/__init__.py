"""Rewrites ONNX files in fp16, int8 and int4, and says how close to Keras each must stay.

tolerances.py     the tolerances of each precision
fp16_search.py    rewrites a file in fp16 that stays close to Keras
quantisation.py   rewrites a file in int8 or int4 if that is accurate and pays
fp16.py, int8.py, weights.py  the conversions, in the worker's process
jobs.py           their tasks
files.py          replaces a file
"""
