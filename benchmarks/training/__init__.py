"""Measures the time of training beside its steps, and the gain of mixed_bfloat16 and oneDNN."""
