"""What several rooms name, and must name alike: an owner's agreements, the detector's exit codes."""

from __future__ import annotations

from roles.common import consent
from shoal.check import examine
from shoal.check.finding import CONSENTS
from shoal.report.formats import EXIT_CODES
from shoal.results.exit_codes import DetectorExit


def test_what_the_roles_ask_for_can_be_given_by_the_commands() -> None:
    assert set(consent.CONSENTS) <= set(CONSENTS)
    assert examine.YES_TO == "shoal_yes_to", "the group data that the roles read"


def test_the_report_has_words_for_every_exit_code_of_the_detector() -> None:
    assert {*DetectorExit} <= {*EXIT_CODES}
