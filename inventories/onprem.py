"""Machines that exist already, from onprem.toml (see onprem.example.toml). `SHOAL_ONPREM` names another file."""

from shoal.deploys.inventory import hosts as _hosts

requester, compute = _hosts("onprem")
