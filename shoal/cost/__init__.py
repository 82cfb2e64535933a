"""What machines and runs cost, from stated prices."""
