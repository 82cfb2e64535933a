"""pyinfra's command as `run_deploy` and `./just pyinfra` begin it: `python -m shoal.deploys.process INVENTORY DEPLOY`.

It prints what machines say as it comes. Here that goes out as text that no terminal obeys, and no part of a machine's
line looks like a line of pyinfra's own.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO, cast

# A line that is written over again and again is made of the very signs that are taken out.
os.environ["PYINFRA_PROGRESS"] = "off"

from pyinfra_cli.main import main

from shoal.deploys import operation_order
from shoal.terminal import PlainStream

if __name__ == "__main__":
    sys.stdout = cast(TextIO, PlainStream(sys.stdout))
    sys.stderr = cast(TextIO, PlainStream(sys.stderr))
    operation_order.use()
    main()
