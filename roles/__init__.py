"""What can be installed on a machine: one package per thing, each with `install` and `remove`."""
