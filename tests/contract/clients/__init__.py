"""Thirty steps with each client library; each file is a script that takes a kubeconfig."""
