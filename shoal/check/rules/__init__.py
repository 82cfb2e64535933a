"""What facts mean for a deploy: pure functions from a machine's facts and plan to findings, by subject."""
