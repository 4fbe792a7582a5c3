"""Nothing is decided about a key before the caches have seen what was written for it."""

from __future__ import annotations

from rayctl.kube.calls import Resource
from rayctl.kube.kinds import CONFIG_MAPS, PODS, SECRETS
from rayctl.kube.own_writes import PATIENCE_S, OwnWrites

KEY, OTHER = ("default", "a"), ("default", "b")


class Seen:
    """Caches with these revisions and objects; Secrets are not watched."""

    def __init__(self, **revisions: str) -> None:
        self.revisions = revisions
        self.there: set[tuple[tuple[str, str], str]] = set()

    def revision(self, resource: Resource) -> str | None:
        return None if resource is SECRETS else self.revisions.get(resource.plural, "")

    def has(self, resource: Resource, key: tuple[str, str], uid: str) -> bool:
        return (key, uid) in self.there


def answer(revision: str) -> dict[str, object]:
    return {"metadata": {"resourceVersion": revision}}


def test_a_key_waits_for_the_newest_of_its_own_writes_and_for_nobody_elses() -> None:
    writes = OwnWrites()
    writes.wrote(KEY, PODS, answer("12"), 0.0)
    writes.wrote(KEY, PODS, answer("9"), 0.0)
    assert writes.behind(KEY, Seen(pods="11"), 1.0) == "pods up to revision 12"
    assert writes.behind(OTHER, Seen(pods="11"), 1.0) == ""
    assert writes.behind(KEY, Seen(), 1.0) != ""  # nothing has been listed yet
    assert writes.behind(KEY, Seen(pods="12"), 1.0) == ""
    assert len(writes) == 0


def test_revisions_compare_as_numbers_and_each_kind_for_itself() -> None:
    writes = OwnWrites()
    writes.wrote(KEY, PODS, answer("100"), 0.0)
    writes.wrote(KEY, CONFIG_MAPS, answer("101"), 0.0)
    assert writes.behind(KEY, Seen(pods="99", configmaps="200"), 1.0) != ""
    assert writes.behind(KEY, Seen(pods="100", configmaps="99"), 1.0) == "configmaps up to revision 101"
    assert writes.behind(KEY, Seen(pods="100", configmaps="101"), 1.0) == ""


def test_a_deletion_is_seen_when_that_very_object_is_gone() -> None:
    writes, seen = OwnWrites(), Seen()
    target = ("default", "pod-1")
    seen.there = {(target, "old")}
    writes.deleted(KEY, PODS, target, "old", 0.0)
    assert writes.behind(KEY, seen, 1.0) == "the deletion of Pod pod-1"
    seen.there = {(target, "new")}
    assert writes.behind(KEY, seen, 1.0) == ""


def test_what_cannot_be_known_holds_nothing_up() -> None:
    writes = OwnWrites()
    writes.wrote(KEY, SECRETS, answer("12"), 0.0)  # not watched
    writes.wrote(KEY, PODS, answer("opaque"), 0.0)
    writes.wrote(KEY, PODS, {}, 0.0)
    assert writes.behind(KEY, Seen(pods="1"), 1.0) == ""
    writes.wrote(KEY, PODS, answer("12"), 0.0)
    assert writes.behind(KEY, Seen(pods="opaque"), 1.0) == ""
    writes.wrote(KEY, PODS, answer("12"), 0.0)
    assert writes.behind(KEY, Seen(pods="1"), PATIENCE_S) != ""
    assert writes.behind(KEY, Seen(pods="1"), PATIENCE_S + 1) == ""
