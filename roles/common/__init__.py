"""What every role is built from: reading knobs, a few facts, a few operations. Not a role itself."""
