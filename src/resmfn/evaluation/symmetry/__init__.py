"""Which point group a map has: its axes, the groups that they make, and how far turned copies agree."""
