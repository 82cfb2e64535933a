"""A cloud lab's machines, from the document that `shoal up gcp` keeps. `SHOAL_CLUSTER` names another document."""

from shoal.deploys.inventory import hosts as _hosts

requester, compute = _hosts("gcp")
