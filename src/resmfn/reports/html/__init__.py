"""One self-contained HTML page from the record of a run: no file beside it, no request to anywhere."""
