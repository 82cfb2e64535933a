"""What both stacks need: typed configuration, labels, the cost line and the exported document."""
