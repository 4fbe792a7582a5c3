"""The group ``rayctl tenant``."""

from __future__ import annotations

import click

from rayctl.cli.lazy import LazyGroup

__all__ = ["tenant"]

COMMANDS = {
    "create": ("rayctl.cli.tenant_write:create", "Register a tenant from a file."),
    "list": ("rayctl.cli.tenant_read:list_tenants", "List tenants."),
    "show": ("rayctl.cli.tenant_read:show", "Show a tenant's configuration, and where its values are from."),
    "validate": ("rayctl.cli.tenant_read:validate", "Check a file, without keeping it."),
    "diff": ("rayctl.cli.tenant_read:diff", "Compare a file or two versions."),
    "set": ("rayctl.cli.tenant_write:set_values", "Change single values, or all from a file."),
    "history": ("rayctl.cli.tenant_read:history", "Show what changed with each version."),
    "rollback": ("rayctl.cli.tenant_write:rollback", "Make an earlier version the newest again."),
    "warm": ("rayctl.cli.tenant_cluster:warm", "Build a tenant's environment ahead of its first call."),
    "environments": ("rayctl.cli.tenant_cluster:environments", "List the environments on the cluster's nodes."),
    "check-isolation": ("rayctl.cli.tenant_cluster:check_isolation", "Prove that tenants see nothing of each other."),
    "delete": ("rayctl.cli.tenant_write:delete", "Remove tenants."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def tenant() -> None:
    """Applications that share this cluster: their configuration, environment and quota."""
