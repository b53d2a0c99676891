"""One run: its settings and state, its costs, and its progress files."""
