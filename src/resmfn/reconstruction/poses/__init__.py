"""Poses: scored on grids, refined by Gauss-Newton steps, and images inserted at their poses."""
