"""What people are shown of Kubernetes objects: documents in, documents and rows out. Pure; printing is elsewhere."""
