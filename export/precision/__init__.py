"""Rewrites ONNX files in fp16 and int8, and says how close to Keras each must stay.

tolerances.py     the tolerances of each precision
fp16_search.py    rewrites a file in fp16 that stays close to Keras
quantisation.py   rewrites a file in int8 if that is accurate and faster
fp16.py, int8.py  the conversions, in the worker's process
jobs.py           their tasks
files.py          replaces a file
"""
