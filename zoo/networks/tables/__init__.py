"""Networks for the rows of a table."""
