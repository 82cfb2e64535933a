"""`python3 -m recorder SETTINGS`: see `recorder.cli`."""

import sys

from recorder.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
