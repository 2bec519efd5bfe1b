"""Files: artifact.json, arrays, publishing in one step, and checks before a library reads them."""
