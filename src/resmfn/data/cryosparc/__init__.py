"""cryoSPARC's files: records of particles, in both containers."""
