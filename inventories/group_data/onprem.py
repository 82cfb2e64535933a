"""Machines that exist already have an owner, who named them."""

base_hostname = False
