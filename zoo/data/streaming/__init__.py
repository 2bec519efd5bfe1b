"""Photos that stay encoded on disk, and are decoded when a batch needs them.

source.py         makes a source of photos, or leaves them to be decoded once; decoded.py does that for shards
photos.py         `Photos`, an array-like of images, which are decoded when indexed
  opencv.py       crops by simplejpeg and OpenCV
index.py          where each image is, with its part and its label, kept in the cache
  files.py        the arrays of the index
  listing.py      what a folder or shards contain
  folders.py      lists the images of a folder
  patterns.py     finds the shards that a path or pattern means
  shards.py       lists the images of tar shards
    tars.py       reads the headers of a tar
  records.py      lists the images of ArrayRecord files
  checking.py     finds damaged images
"""
