"""Poses: scored on grids, refined by Gauss-Newton steps, and what images at their poses say of a map."""
