"""The kinds that are built in: their schemas, names, defaults and rules."""
