"""`python -m shoal_detect`, which is what the image's `shoal-detect` runs."""

import sys

from shoal_detect import cli
from shoal_detect.watch import cli as watch_cli

if __name__ == "__main__":
    sys.exit(watch_cli.main(sys.argv[2:]) if sys.argv[1:2] == ["watch"] else cli.main())
