"""What the blocks and `Residual` are made of: convolutions, normalisations, dropped branches, shortcuts."""
