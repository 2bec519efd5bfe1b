"""Predicts for files, folders, archives and arrays of any number, and writes a row for each.

network.py    what a prediction needs to know about a network; the network of an artifact
inputs.py     finds and names inputs; arrays.py reads the rows of .npy and .npz
computing.py  reads inputs in threads and computes batches
answers.py    from outputs to cells: classes, numbers, masks
formats.py    CSV, JSON and Parquet
part.py       the output while it grows
run.py        `predict_files`
"""
