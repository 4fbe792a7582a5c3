"""AutoML as a service: a proxy actor, one trainer actor per run, stateless tasks per trial and fold."""
