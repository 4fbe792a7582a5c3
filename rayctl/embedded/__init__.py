"""Kubernetes without Kubernetes: an API server and a kubelet in plain Python, for laptops, tests and demonstrations."""
