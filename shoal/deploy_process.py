"""pyinfra's command, begun as its own script begins it.

`python -m pyinfra` loads the SSH library before pyinfra has made the process cooperative; a connection by ProxyCommand
then never lets anything else run, and the deploy hangs while it connects.
"""

from __future__ import annotations

from pyinfra_cli.main import main  # the package's first lines patch what everything after them loads

if __name__ == "__main__":
    main()
