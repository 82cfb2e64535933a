"""How shoal runs pyinfra: the inventory it gives, the process, the log."""
