"""Entry point for `pulumi up` in this folder."""

from stacks.gcp.program import program

program()
