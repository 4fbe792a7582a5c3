"""Fault tolerance of a cluster's GCS: its state outlives the head, in Redis or in a volume."""
