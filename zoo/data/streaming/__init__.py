"""Photos that stay encoded on disk, and are decoded when a batch needs them.

photos.py           `Photos`, an array-like of decoded images
files.py            where the bytes of each image are
folders.py          finds the images of a folder
"""
