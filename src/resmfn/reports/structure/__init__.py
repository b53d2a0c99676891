"""What maps on disk say of the structure: its symmetry, and its hand against a model."""
