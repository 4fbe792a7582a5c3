"""Learn the order of the tabular portfolio from data that no benchmark judges.

    python tests/benchmarks/learn_portfolio.py [--work FOLDER] [--kinds binary,…] [--measure-only | --learn-only]

Fits every configuration on every table once (an interrupted run goes on where it was; about 40 minutes of one core),
orders them greedily, and writes ``rayctl/automl/tabular/portfolio.json`` and ``tests/benchmarks/portfolio/README.md``.
"""

from __future__ import annotations

from portfolio.cli import main

if __name__ == "__main__":
    main()
