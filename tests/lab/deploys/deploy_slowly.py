"""A deploy that is at work until a file appears on the machine."""

from pyinfra.operations import server

server.shell(
    name="Wait for the end", commands=["touch /tmp/begun; until [ -e /tmp/end ]; do sleep 0.2; done; touch /tmp/ended"]
)
