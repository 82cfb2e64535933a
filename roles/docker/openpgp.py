"""The vendor's key; see roles/common/openpgp.py, which other roles use too."""

from roles.common.openpgp import dearmoured, fingerprint

__all__ = ["dearmoured", "fingerprint"]
