"""The Kubernetes port: how rayctl speaks with a Kubernetes API server, a real one or the embedded one."""
