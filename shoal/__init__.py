"""The control side of shoal: cluster document, artefacts, jobs and runners, results, report, lab, CLI."""

__version__ = "0.1.0"
