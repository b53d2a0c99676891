"""Objects whose projections and transforms are known in closed form."""
