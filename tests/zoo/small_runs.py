"""Settings of the short runs that many tests share."""

OPTIONS = {"epochs": 2, "batch_size": 64, "label_smoothing": 0.1, "augment.pad": 1}
