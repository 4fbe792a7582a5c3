"""Routes about Kubernetes objects; made per kind, because every kind has paths of its own."""
