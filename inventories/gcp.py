"""A cloud lab's machines, as `shoal up gcp` and `shoal bootstrap gcp` keep their document. `SHOAL_CLUSTER` names another document."""

from shoal.inventory import hosts as _hosts

requester, compute = _hosts("gcp")
