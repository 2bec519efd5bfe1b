"""Networks for images of 8 to 32 pixels: CIFAR-10, MNIST, digits."""
