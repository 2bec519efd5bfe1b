"""Photos that stay encoded on disk, and are decoded when a batch needs them.

source.py         makes a source of photos, or says that they should be decoded; decoded.py does that for shards
photos.py         `Photos`, an array-like of decoded images
index.py          where each image is, its part and its label, kept in the cache
  files.py        the arrays of the index
  listing.py      what a folder or shards hold
  folders.py      lists the images of a folder
  shards.py       lists those of tar shards, whose headers tars.py reads; patterns.py finds the shards
  records.py      lists those of ArrayRecord files
  checking.py     finds damaged images
"""
