"""A recipe becomes a run: recipes, the loop, checkpoints, and the folder that keeps everything."""
