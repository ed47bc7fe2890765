"""How each exchange says things on the wire, one file per exchange."""
