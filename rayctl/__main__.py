"""``python -m rayctl``: the same as the command ``rayctl``."""

from rayctl.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
