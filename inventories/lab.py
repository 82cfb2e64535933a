"""The machines of the lab that `SHOAL_LAB` names, else of the lab `lab`. `SHOAL_CLUSTER` names a document instead."""

from shoal.deploys.inventory import hosts as _hosts

requester, compute = _hosts("lab")
