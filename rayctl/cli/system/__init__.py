"""The commands that put rayctl on a Kubernetes cluster, check it there, and take it away."""
