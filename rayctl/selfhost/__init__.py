"""Starting, watching and stopping the control plane: ``rayctl up``, ``down``, ``status``."""
