"""The foundation of every layer: checked arguments, configuration, shapes, recordings, and calls of other layers."""
