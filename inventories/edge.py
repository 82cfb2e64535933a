"""Registered boxes, from the document that `shoal up edge` keeps. `SHOAL_CLUSTER` names another document."""

from shoal.deploys.inventory import hosts as _hosts

requester, compute = _hosts("edge")
