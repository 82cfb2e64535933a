"""pyinfra's command as `run_deploy` begins it: `python -m shoal.deploys.process INVENTORY DEPLOY ...`."""

from __future__ import annotations

from pyinfra_cli.main import main

from shoal.deploys import operation_order

if __name__ == "__main__":
    operation_order.use()
    main()
