"""The quality benchmark: rayctl beside its peers, same data, same cores, same budget, scored by a third party."""
