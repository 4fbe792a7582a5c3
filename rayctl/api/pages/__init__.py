"""Pages for browsers: made here, complete without script; the one script only reloads what has changed."""
