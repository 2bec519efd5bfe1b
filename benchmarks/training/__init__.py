"""Measures the time that training takes besides its steps, and the gain of mixed_bfloat16 and oneDNN."""
