"""Key frames and what is drawn on them."""
