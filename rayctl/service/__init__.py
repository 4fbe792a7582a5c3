"""RayService: the active and the next cluster, and the switch from one to the other as one coordinated function."""
