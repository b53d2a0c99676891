"""What is to be said of a file: contradictions, what is not modelled, which columns are used."""
