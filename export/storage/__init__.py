"""Files: artifact.json, arrays, publishing in one step, and what is refused before a library reads it."""
