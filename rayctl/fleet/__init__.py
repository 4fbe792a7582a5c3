"""RayClusterFleet: many Ray clusters of one template, rolled from revision to revision."""
