"""Forecasting of many series: checks, time grids, rolling-origin windows, statistical models, the engine."""
