"""A kubelet that runs pods as processes of this machine, for laptops, tests and demonstrations."""
