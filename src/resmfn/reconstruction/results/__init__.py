"""The files that a finished reconstruction leaves."""
