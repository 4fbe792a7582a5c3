"""The Ray Serve applications of rayctl: the HTTP gateway, a composable AutoML deployment, and served models."""
