"""What acts next to the server: garbage, the ends of namespaces and definitions, quotas, services' endpoints."""
