"""What exports, how fast, how near to Keras, and how fast the file runs."""
