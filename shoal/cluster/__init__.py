"""The cluster document, which every later step reads, and its other forms."""
