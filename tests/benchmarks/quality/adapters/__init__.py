"""One script per framework, each run as a fresh process in the framework's own environment."""
