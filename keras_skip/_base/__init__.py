"""What every layer is made from: checked arguments, configuration, shapes, and calls of other layers."""
