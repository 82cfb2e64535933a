"""A stand-in for the Google Cloud provider, for tests of the real engine only: a cloud that is one JSON file.

It proves program, graph, names, types, state and the handling of drift and failure. It proves nothing of Google's own
validation, defaults and quotas. What forces a replacement is read in the vendor's source (`provider_fields.toml`).
"""
