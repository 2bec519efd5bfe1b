"""One file per family; each network maps preprocessed float images to logits."""
