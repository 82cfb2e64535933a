"""What a run leaves: its record, the documents of its folder, how they come home and are verified."""
