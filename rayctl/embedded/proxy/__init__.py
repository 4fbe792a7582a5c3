"""Stable addresses for Services on one machine: a TCP proxy that knows which pods are ready."""
