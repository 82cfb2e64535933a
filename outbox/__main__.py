"""`python3 outbox.pyz`, `python3 -m outbox`."""

import os
import sys

from outbox.cli import main

# Typed by hand too, the group of the outbox alone may read what is written; the units set the same.
os.umask(0o027)
sys.exit(main())
