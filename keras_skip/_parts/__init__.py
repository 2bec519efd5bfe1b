"""The parts of the blocks and of `Residual`: convolutions, normalisations, branches with drops, shortcuts."""
