"""pyinfra's command as `run_deploy` begins it: `python -m shoal.deploys.process INVENTORY DEPLOY ...`."""

from __future__ import annotations

from pyinfra_cli.main import main

if __name__ == "__main__":
    main()
