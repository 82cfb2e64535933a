"""The watch: a machine's cameras looked at as their footage comes, without end."""
