"""What training adds to a step (epochs, the input pipeline, callbacks), and what a step gains from the processor."""
