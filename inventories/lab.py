"""The lab's machines. `SHOAL_CLUSTER` names another document than the default lab's."""

from shoal.deploys.inventory import hosts as _hosts

requester, compute = _hosts("lab")
