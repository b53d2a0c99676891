"""STAR files: tables of text, and what RELION's columns mean."""
