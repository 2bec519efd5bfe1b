"""How often long work says how far it is, where there is no terminal for a bar."""

LINE_SECONDS = 60
