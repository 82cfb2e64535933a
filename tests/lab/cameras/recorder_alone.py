"""Role `recorder` alone, for its test."""

from roles import recorder

recorder.install()
