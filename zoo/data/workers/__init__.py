"""Worker processes, which make the batches of photos ahead.

count.py     how many there are
stream.py    starts them, and joins their slices of batches in order; grain moves the slices
child.py     what each runs first
"""
