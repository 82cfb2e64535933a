"""What an owner can agree to has one name, wherever it is asked for."""

from __future__ import annotations

from roles.common import consent
from shoal.check import examine
from shoal.check.finding import CONSENTS


def test_what_the_roles_ask_for_can_be_given_by_the_commands() -> None:
    assert set(consent.CONSENTS) <= set(CONSENTS)
    assert examine.YES_TO == "shoal_yes_to", "the group data that the roles read"
