"""`python -m keras_skip` is the command `keras-skip`."""

import sys

from zoo.cli import main

if __name__ == "__main__":
    # Python has found this file in a package without its layers, which the next import brings.
    del sys.modules["keras_skip"]
    main()
