"""The stack of a cloud lab on Google Cloud: one requester and N spot compute nodes with private addresses only."""
