"""What runs beside and inside a container: standalone programs of the standard library, started by file name."""
