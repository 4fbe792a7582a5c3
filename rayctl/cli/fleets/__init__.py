"""Commands about fleets: what would happen, what happens, and how to steer it."""
