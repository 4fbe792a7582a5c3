"""Structural schemas: what a field may be, what it is by default, and how lists and maps merge."""
