"""The commands for Kubernetes objects, one file each: get, describe, explain, apply, delete, and so on."""
