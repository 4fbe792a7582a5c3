"""The ``rayctl`` command. Commands are modules that are imported when they are used, and only then."""
