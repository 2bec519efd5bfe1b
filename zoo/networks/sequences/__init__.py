"""Networks for series, signals and text."""
