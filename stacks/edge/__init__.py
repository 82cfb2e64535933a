"""The stack that registers boxes that exist: it keeps their record and makes nothing but a token."""
