"""RayClusterReplicaSet: keeps a number of Ray clusters of one template."""
