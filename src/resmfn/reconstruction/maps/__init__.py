"""Maps: their grids, priors, masks and symmetry, and the network that holds one."""
