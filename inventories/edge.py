"""Registered boxes, as `shoal up edge` keeps their document. `SHOAL_CLUSTER` names another document."""

from shoal.inventory import hosts as _hosts

requester, compute = _hosts("edge")
