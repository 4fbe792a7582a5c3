"""The reconcile kernel: observe, plan, act. It knows neither Ray nor Kubernetes."""
