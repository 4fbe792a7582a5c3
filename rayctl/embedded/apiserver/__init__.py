"""A Kubernetes-compatible API server in one process.

``handler.Handler`` answers requests; ``server`` puts it on a socket, tests call it directly. All state is in
``store.Store`` (SQLite behind it), and everything that changes it goes through ``verbs``.
"""
