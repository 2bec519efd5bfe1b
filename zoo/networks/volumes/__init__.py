"""Networks for volumes and video."""
