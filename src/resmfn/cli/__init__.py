"""The ``resmfn`` command: parsing and printing only; what a command does lives in the layers below."""
