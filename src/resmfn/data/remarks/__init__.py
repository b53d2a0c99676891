"""Remarks on a file: contradictions, what is not modeled, which columns are used."""
