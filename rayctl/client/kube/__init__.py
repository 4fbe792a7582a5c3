"""A Kubernetes API as the command line needs it: plain calls, quick to import, without the official package.

`rayctl.kube` is the controllers' way (asynchronous, one second to import); errors, calls and kinds are the same.
"""
