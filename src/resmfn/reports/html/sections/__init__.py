"""The sections of a report, each by what it shows."""
