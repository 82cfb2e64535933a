"""Entry point for `pulumi up` in this folder."""

from stacks.edge.program import program

program()
