"""Maps and poses brought onto one another, and what remains between them."""
