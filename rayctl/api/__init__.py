"""The HTTP API: a FastAPI application over the port `rayctl.automl.port.AutoMLService`. It knows no Ray."""
