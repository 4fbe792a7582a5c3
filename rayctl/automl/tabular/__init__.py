"""Classification and regression on tables: checks, views of the data, model families, the engine."""
