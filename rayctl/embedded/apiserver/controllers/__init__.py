"""What acts next to the server: the garbage collector, the ends of namespaces and definitions, quotas, old events."""
