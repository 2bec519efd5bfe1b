"""The inputs and outputs of a model: its signature, example inputs, and the function that is exported."""
