"""How pods are kept apart on one machine's network: a namespace each, or addresses and ports of their own."""
