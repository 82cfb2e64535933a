"""`python3 outbox.pyz`, `python3 -m outbox`."""

import sys

from outbox.cli import main

sys.exit(main())
