"""Inverse problems with a quadratic objective: operators, normal equations and their solvers."""
