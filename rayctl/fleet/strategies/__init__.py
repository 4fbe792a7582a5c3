"""What a rollout does next, one module per strategy."""
