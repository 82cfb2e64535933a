"""What a control machine does in these tests: `python control_machine.py DOCUMENT DEPLOY [--break-lock]`."""

import sys
from pathlib import Path

from shoal.cluster import reach as reaches
from shoal.deploys.run import run_deploy
from shoal.errors import ShoalError
from shoal.telling import to_stderr

try:
    run_deploy(reaches.load(Path(sys.argv[1])), sys.argv[2], break_lock="--break-lock" in sys.argv, say=to_stderr)
except ShoalError as error:
    sys.exit(f"refused: {error}")
