"""fp16 and int8: how files become them, and how close to Keras each has to stay."""
