"""The phases of a reconstruction, in the order that ``table.py`` states."""
