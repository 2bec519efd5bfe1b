"""Builds the zoo's networks by hand from Keras's own layers, as anyone would without keras-skip.

A layer here has the name of the same layer in the zoo's network, with "_" where a block's name ends. So `copy_weights`
finds each variable by its name, and notices if the two networks differ.
"""

import sys

import keras
from keras import layers, ops

CIFAR, MNIST, IMAGENET = (32, 32, 3), (28, 28, 1), (224, 224, 3)


def conv(x, filters, size, name, strides=1, padding="same", **options):
    options = {"use_bias": False} | options
    return layers.Conv2D(filters, size, strides, padding, name=name, **options)(x)


def norm(x, name):
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)


def relu(x):
    return layers.ReLU()(x)


def norm_relu(x, name):
    return relu(norm(x, name))


def classifier(image, x, classes=10):
    return keras.Model(image, layers.Dense(classes, name="head")(layers.GlobalAveragePooling2D()(x)))


def list_blocks(stages):
    """Yields the name, stage and strides of each block; the first block of each further stage halves the size."""
    for stage, blocks in enumerate(stages, 1):
        for block in range(1, blocks + 1):
            yield f"stage{stage}_block{block}", stage, 2 if stage > 1 and block == 1 else 1


def residual_branch(x, filters, strides, name):
    y = norm_relu(conv(x, filters, 3, f"{name}_conv1", strides), f"{name}_norm1")
    return norm(conv(y, filters, 3, f"{name}_conv2"), f"{name}_norm2")


def resnet(depth, branch=residual_branch):
    # Keras calls itself once for each layer of a functional network.
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 20 * depth))
    image = keras.Input(CIFAR)
    x = norm_relu(conv(image, 16, 3, "stem_conv"), "stem_norm")
    for name, stage, strides in list_blocks([(depth - 2) // 6] * 3):
        filters = 16 << stage - 1
        y = branch(x, filters, strides, name)
        if strides == 2:
            x = ops.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (0, filters // 2)))
        x = relu(layers.add([x, y]))
    return classifier(image, x)


class RematerializedBranch(layers.Layer):
    """The branch of a residual block inside `keras.remat`."""

    def __init__(self, filters, strides, name):
        super().__init__(name=name)
        options = {"padding": "same", "use_bias": False}
        self.conv1 = layers.Conv2D(filters, 3, strides, name="conv1", **options)
        self.conv2 = layers.Conv2D(filters, 3, name="conv2", **options)
        self.norm1, self.norm2 = (
            layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name) for name in ("norm1", "norm2")
        )

    def build(self, shape):
        self.conv1.build(shape)
        shape = self.conv1.compute_output_shape(shape)
        for layer in (self.norm1, self.conv2, self.norm2):
            layer.build(shape)

    def call(self, x, training=None):
        def branch(x):
            y = ops.relu(self.norm1(self.conv1(x), training=training))
            return self.norm2(self.conv2(y), training=training)

        return keras.remat(branch)(x) if training else branch(x)


def rematerialized_resnet(depth):
    return resnet(depth, lambda x, filters, strides, name: RematerializedBranch(filters, strides, name)(x))


def wide_resnet(depth, width):
    image = keras.Input(CIFAR)
    x = conv(image, 16, 3, "stem_conv")
    for name, stage, strides in list_blocks([(depth - 4) // 6] * 3):
        filters = (16 << stage - 1) * width
        y = norm_relu(x, f"{name}_norm1")
        if name.endswith("block1"):
            x = conv(y, filters, 1, f"{name}_projection", strides)
        y = norm_relu(conv(y, filters, 3, f"{name}_conv1", strides), f"{name}_norm2")
        x = layers.add([x, conv(y, filters, 3, f"{name}_conv2")])
    return classifier(image, norm_relu(x, "last_norm"))


def densenet_bc(depth, growth_rate):
    image = keras.Input(CIFAR)
    x = conv(image, 2 * growth_rate, 3, "stem_conv")
    for block in (1, 2, 3):
        for layer in range(1, (depth - 4) // 6 + 1):
            name = f"block{block}_layer{layer}"
            y = conv(norm_relu(x, f"{name}_norm1"), 4 * growth_rate, 1, f"{name}_conv1")
            y = conv(norm_relu(y, f"{name}_norm2"), growth_rate, 3, f"{name}_conv2")
            x = layers.concatenate([x, y])
        if block < 3:
            name = f"transition{block}"
            x = conv(norm_relu(x, f"{name}_norm1"), x.shape[-1] // 2, 1, f"{name}_conv1")
            x = layers.AveragePooling2D(2)(x)
    return classifier(image, norm_relu(x, "last_norm"))


def resnet50():
    """Builds torchvision's form, whose 3x3 convolutions have the strides and equal zeros on all sides."""
    image = keras.Input(IMAGENET)
    x = conv(layers.ZeroPadding2D(3)(image), 64, 7, "stem_conv", 2, "valid")
    x = layers.ZeroPadding2D(1)(norm_relu(x, "stem_norm"))
    x = layers.MaxPooling2D(3, 2)(x)
    for name, stage, strides in list_blocks((3, 4, 6, 3)):
        narrow = 64 << stage - 1
        y = norm_relu(conv(x, narrow, 1, f"{name}_conv1"), f"{name}_norm1")
        y, padding = (layers.ZeroPadding2D(1)(y), "valid") if strides == 2 else (y, "same")
        y = norm_relu(conv(y, narrow, 3, f"{name}_conv2", strides, padding), f"{name}_norm2")
        y = norm(conv(y, 4 * narrow, 1, f"{name}_conv3"), f"{name}_norm3")
        if name.endswith("block1"):
            x = norm(conv(x, 4 * narrow, 1, f"{name}_projection", strides), f"{name}_projection_norm")
        x = relu(layers.add([x, y]))
    return classifier(image, x, 1000)


def highway_layer(x, name):
    options = {"use_bias": True, "activation": "relu"}
    update = conv(x, x.shape[-1], 3, f"{name}_conv1", **options)
    transform = conv(x, x.shape[-1], 3, f"{name}_transform_gate", **options | {"activation": "sigmoid"})
    return transform * update + (1.0 - transform) * x


def highway_mnist(width):
    image = keras.Input(MNIST)
    x = conv(image, width, 5, "stem", padding="valid", use_bias=True, activation="relu")
    for stage, count in enumerate((2, 3, 3), 1):
        for block in range(1, count + 1):
            x = highway_layer(x, f"stage{stage}_block{block}")
        x = layers.MaxPooling2D(2, padding="same")(x)
    return keras.Model(image, layers.Dense(10, name="head")(layers.Flatten()(x)))


def highway19():
    image = x = keras.Input(CIFAR)
    options = {"use_bias": True, "activation": "relu"}
    for stage, (width, count) in enumerate(((32, 5), (80, 6), (128, 6)), 1):
        if stage > 1:
            x = layers.MaxPooling2D(2, padding="same")(x)
        x = conv(x, width, 3, f"stage{stage}_conv", **options)
        for block in range(1, count):
            x = highway_layer(x, f"stage{stage}_block{block}")
    return classifier(image, conv(x, 100, 1, "hidden", **options))


def copy_weights(source, target):
    """Copies the value of each variable of `source` to the variable of `target` with the same name.

    Raises:
        ValueError: If the names of the variables differ.
    """
    values, variables = ({v.path.replace("/", "_"): v for v in model.variables} for model in (source, target))
    if values.keys() != variables.keys():
        raise ValueError(f"Expected the same variables. Received: {sorted(values.keys() ^ variables.keys())[:6]}")
    for name, variable in variables.items():
        variable.assign(values[name])
