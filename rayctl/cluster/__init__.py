"""RayCluster: real Ray clusters made of pods and services."""
