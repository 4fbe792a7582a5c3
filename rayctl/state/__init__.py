"""What must survive: the state database (SQLAlchemy) and the artifact store (fsspec)."""
