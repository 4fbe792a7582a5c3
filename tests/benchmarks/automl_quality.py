"""How good rayctl's answers are beside AutoGluon's, FLAML's and plain boosters', at equal budget on the same cores.

    python tests/benchmarks/automl_quality.py [--size smoke|nightly|release] [--only rayctl] [--tasks a,b] [--budget 60]

Makes the peers' environments, runs every framework as a fresh process on data from wheels, scores their predictions,
and writes a report. An interrupted benchmark goes on where it was. It never fails on a time or on a score.
"""

from __future__ import annotations

from quality.cli import main

if __name__ == "__main__":
    main()
