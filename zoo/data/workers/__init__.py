"""Worker processes, which prepare the batches of photos ahead of the training step.

count.py     how many there are
stream.py    starts them, and joins their slices of batches in order
  worker.py  one worker process, as its parent sees it; grain runs it
  child.py   what each worker runs first
  ring.py    the shared memory through which a worker hands over its slices
"""
