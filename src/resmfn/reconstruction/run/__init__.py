"""One run: its settings and state, its accounts, and what it writes while it goes on."""
