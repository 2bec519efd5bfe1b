"""One file per family; each network maps preprocessed float images to logits. `catalogue` says how to add a family."""
