"""`python -m shoal_detect`, which is what the image's `shoal-detect` runs."""

import sys

from shoal_detect.cli import main

if __name__ == "__main__":
    sys.exit(main())
