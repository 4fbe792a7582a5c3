"""The part of the HTTP API that works on a Kubernetes API: fleets, sets, clusters, services, operations, events."""
