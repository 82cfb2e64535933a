"""A look at the machines before the first change: one login each, all findings in one list."""
