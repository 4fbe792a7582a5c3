"""Learning the order of the tabular portfolio from stored predictions on data that no benchmark judges."""
