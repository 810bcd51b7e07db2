"""Container Instances behind one name: a release is a colour, and a rollout switches between two.

The candidate's groups are made beside those that serve, and verified at their own addresses. To
keep it is one PUT of the Traffic Manager profile, with the endpoints and the tags. The old colour
goes on serving those whose resolver has its address, for ``profile.GRACE``; until it is deleted,
going back is such a PUT too. What served before as a single group takes part as a third colour,
which is never made again.

The tags of the profile are those of the release that was applied last, as on every target.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from engine.deploy.az import Az, AzError
from engine.deploy.config import names
from engine.deploy.diagnosis.evidence import Group
from engine.deploy.finding import Finding
from engine.deploy.rollout import marks
from engine.deploy.targets.aci import document as documents
from engine.deploy.targets.aci.environment import GroupEnvironment
from engine.deploy.targets.aci.fleet import document as fleets
from engine.deploy.targets.aci.fleet import profile as profiles
from engine.deploy.targets.aci.fleet.document import BLUE, COLOURS, GREEN, SINGLE
from engine.deploy.targets.aci.fleet.groups import Groups
from engine.deploy.targets.aci.fleet.live import fleet_live
from engine.deploy.targets.aci.fleet.preflight import findings
from engine.deploy.targets.aci.fleet.profile import Profile, endpoints_of
from engine.deploy.targets.aci.live import live_of
from engine.deploy.targets.aci.shape import restorable
from engine.deploy.targets.base import Check, Document, Live, Places, Release
from engine.deploy.targets.compare import same_secrets
from engine.errors import EngineError

Json = dict[str, Any]
_HOST_SECONDS, _PAUSE_SECONDS = 300.0, 3.0


class Fleet:
    """The groups and the profile of one environment; see ``engine.deploy.targets.base.Target``."""

    serves_on = True
    busy_seconds = 1860.0

    def __init__(
        self,
        az: Az,
        environment: GroupEnvironment,
        places: Places,
        sleep: Callable[[float], object] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._host = profiles.shared_host(environment)
        self.what = f"fleet {environment.name} ({environment.copies} group(s) behind {self._host})"
        self._az = az
        self._environment = environment
        self._places = places
        self._sleep = sleep
        self._now = now
        self._profile = Profile(az, environment, places, sleep)
        self._groups = Groups(az, environment, places)
        self._addresses: tuple[str, ...] = ()
        self._begun: dict[str, str] | None = None
        self._making: tuple[str, ...] = ()

    def document(self, release: Release, tags: Mapping[str, str]) -> Document:
        """See ``Target``; the document carries the digest of what was configured."""
        group = restorable(documents.render(self._environment, release, self._places, tags))
        return self._whole({**group, fleets.FLEET: {"copies": self._environment.copies}})

    def secret_names(self, document: Document) -> tuple[str, ...]:
        """See ``Target``."""
        return documents.secret_names(document)

    def tags(self, document: Document) -> dict[str, str]:
        """See ``Target``."""
        return dict(document["tags"])

    def with_tags(self, document: Document, tags: Mapping[str, str]) -> Document:
        """See ``Target``."""
        return {**document, "tags": dict(tags)}

    def findings(self, release: Release) -> list[Finding]:
        """See ``Target``."""
        shown = self._profile.get()
        place = (self._az, self._environment, self._places)
        return findings(*place, self._profile, shown, self._groups)

    def read(self) -> Live | None:
        """See ``Target``."""
        self._addresses = ()
        profile = self._profile.get()
        if profile is None:
            alone = self._groups.get([self._environment.name])[self._environment.name]
            live = None if alone is None else live_of(alone)
            self._addresses = (live.address,) if live is not None and live.address else ()
            return live
        slot, members = self._applied(profile)
        groups = self._groups.get(members)
        own = [live_of(group).address for group in groups.values() if group is not None]
        known = tuple(address for address in own if address is not None)
        self._addresses = known if len(known) == len(members) else ()
        return fleet_live(self._environment, profile, slot, groups)

    def differences(self, live: Document, wanted: Document) -> tuple[str, ...]:
        """See ``Target``."""
        return fleets.differences(live, wanted)

    def blockers(self, live: Document, wanted: Document) -> tuple[str, ...]:
        """See ``Target``: everything is made beside what is there."""
        return ()

    def apply(self, document: Document, secrets: Mapping[str, str], check: Check) -> None:
        """See ``Target``; the other colour is taken as it is if it is just like the document."""
        document = self._fleet(document)
        tags = document["tags"]
        if self._begun != tags:
            # Not where Azure refused one of several groups: the others are on their way.
            profile = self._profile.get()
            slot = _other(self._serving(profile))
            self._making = self._cleared(profile, slot, document, secrets, check)
            self._announce(profile, slot, document)
            self._begun = dict(tags)
        self._make(self._making, document, secrets, check)

    def _cleared(
        self,
        profile: Json | None,
        slot: str,
        document: Document,
        secrets: Mapping[str, str],
        check: Check,
    ) -> tuple[str, ...]:
        """The groups of a colour that have to be made, once there is room for them."""
        members = self._members(slot, document)
        there = self._groups.coloured()[slot]
        if not there:
            return members
        if self._reusable(there, members, document, secrets):
            return ()
        self._delete(profile, there, check)
        check()
        return members

    def candidate_addresses(self) -> tuple[str, ...]:
        """See ``Target``: every group has an address of its own."""
        if not self._addresses:
            self.read()
        return self._addresses

    def candidate_headers(self) -> Mapping[str, str]:
        """See ``Target``: each group has an address of its own."""
        return {}

    def candidate_authority(self) -> None:
        """See ``Target``."""

    def client_headers(self) -> Mapping[str, str]:
        """See ``Target``: nothing."""
        return {}

    def keep(self, tags: Mapping[str, str]) -> None:
        """See ``Target``: the profile leads to what was applied last, and to nothing else."""
        self._point(self._required(), tags)

    def restore(self, previous: Document, secrets: Mapping[str, str], check: Check) -> None:
        """See ``Target``: the colour that served was not touched, and goes on.

        Only where it is gone it is made again, and serves as soon as it has an address: nothing
        else would.
        """
        profile = self._profile.get()
        serving = self._serving(profile)
        found = self._holding(previous, serving)
        if found is None:
            # Nothing that serves is like it: what was switched to, or groups that somebody deleted.
            previous = self._fleet(previous)
            found = _other(serving)
            self._delete(profile, self._groups.coloured()[found], check)
            check()
            self._announce(profile, found, previous)
            self._make(self._members(found, previous), previous, secrets, check)
            self._wait_for_hosts(self._members(found, previous))
        else:
            self._announce(profile, found, previous)
        if found != serving:
            self._point(self._required(), previous["tags"])
            return
        try:
            self._delete(profile, self._all_but(found), check)
        except AzError as error:
            if not error.transitioning:
                raise
            # The release serves; what Azure cannot delete yet, ``retire`` or the next rollout does.
            self._az.say.warning(f"the groups of the failed release are still there: {error}")

    def mark(self, tags: Mapping[str, str]) -> None:
        """See ``Target``."""
        profile = self._profile.get()
        if profile is not None:
            self._point(profile, tags)

    def start(self) -> None:
        """See ``Target``."""
        self._groups.start(self._there())

    def stop(self) -> None:
        """See ``Target``: what a release before left running is deleted, for it would bill on."""
        profile = self._profile.get()
        if profile is not None:
            self._delete(profile, self._all_but(self._applied(profile)[0]))
        self._groups.stop(self._there())

    def delete(self) -> None:
        """See ``Target``: the groups first, for without the profile nobody would look for them."""
        self._groups.delete(_all(self._groups.coloured()))
        self._profile.delete()

    def retire(self) -> tuple[str, ...]:
        """See ``Target``: the old colour, when no resolver can have its address any more."""
        before = self._profile.get()
        if before is None or before["tags"].get(names.TAG_STATE) != "kept":
            return ()
        doomed = self._left_over(before)

        def check() -> None:
            if (now := self._profile.get()) is None or now["tags"] != before["tags"]:
                raise EngineError("another deploy began", "it removes what is left over itself")

        self._delete(before, doomed, check)
        return tuple(doomed)

    def left_running(self) -> str | None:
        """See ``Target``: a single group takes part as a colour."""
        return None

    def serves(self) -> str | None:
        """What clients of the shared name reach, as a clause for people; None: nothing, or this
        login may not see it. For an environment that is a single group now.
        """
        try:
            profile = self._profile.get()
        except AzError:
            return None
        others = endpoints_of(profile).keys() - {self._environment.name} if profile else ()
        if not others:
            return None
        return f"{', '.join(sorted(others))} behind {self._host} serve as before, and bill"

    def give_way(self) -> tuple[str, ...]:
        """Lead the shared name to the single group, which was kept, and remove the coloured groups
        when no resolver has their addresses; their names. Nothing where there is no profile, or
        where this login may not see one.
        """
        try:
            profile = self._profile.get()
        except AzError:
            return ()
        if profile is None:
            return ()
        name, group = self._environment.name, self._environment.resource_group
        alone = self._groups.get([name])[name]
        hosts = self._hosts([name])
        if alone is None or hosts is None or not _newer(alone, profile):
            return ()
        if endpoints_of(profile) != hosts:
            kept = marks.kept(alone.get("tags") or {})
            switched = {profiles.SWITCHED: profiles.moment(self._now())}
            self._profile.put(hosts, {**kept, **_slot(SINGLE, 1), **switched})
        removed = self.retire()
        self._az.say.step(
            f"{self._host} leads to {name} now; when no client asks it any more: "
            f"`az network traffic-manager profile delete --resource-group {group} --name {name}`"
        )
        return removed

    def logs(self, *, follow: bool) -> Iterator[str]:
        """See ``Target``: of every group, one after the other; followed, of the first."""
        there = self._there()
        for name in there[:1] if follow else there:
            yield from self._groups.logs(name, follow=follow)

    def evidence(self) -> Group | None:
        """See ``Target``: the group that is worst off."""
        there = self._there()
        if not there:
            return None
        shown = self._groups.get(there)
        failing = [name for name in there if (each := shown[name]) and not live_of(each).running]
        return self._groups.show((failing or there)[0])

    def billing(self) -> str:
        """See ``Target``."""
        size = f"{self._environment.cpu:g} vCPU, {self._environment.memory_gb:g} GB each"
        return (
            f"{self.what}, {size}, bills by the second while it is not stopped, and twice as much "
            "for some minutes of each deploy; its Traffic Manager profile bills little, by the "
            "month and by the question"
        )

    def _whole(self, document: Document) -> Document:
        digest = fleets.config_digest(document)
        return self.with_tags(document, {**document["tags"], names.TAG_CONFIG: digest})

    def _fleet(self, document: Document) -> Document:
        """A document of a fleet; one of a single group is made as often as configured now."""
        return {fleets.FLEET: {"copies": self._environment.copies}, **document}

    def _members(self, slot: str, document: Document) -> tuple[str, ...]:
        return fleets.member_names(self._environment, slot, fleets.copies_of(document))

    def _applied(self, profile: Json) -> tuple[str, tuple[str, ...]]:
        """The colour that was applied last and the names of its groups."""
        tags = profile.get("tags") or {}
        slot, copies = tags.get(profiles.SLOT, BLUE), tags.get(profiles.COPIES, "0")
        number = int(copies) if copies.isdecimal() else 0
        return slot, fleets.member_names(self._environment, slot, number)

    def _serving(self, profile: Json | None) -> str | None:
        """The colour that clients reach; None: there is none."""
        if profile is None:
            alone = self._groups.get([self._environment.name])
            return SINGLE if all(alone.values()) else None
        served = endpoints_of(profile)
        for colour in COLOURS:
            if any(name.startswith(f"{self._environment.name}-{colour}-") for name in served):
                return colour
        return SINGLE if served else None

    def _holding(self, document: Document, first: str | None) -> str | None:
        """The colour whose groups are what a document asks for: first the one that serves."""
        coloured = self._groups.coloured()
        for slot in sorted((BLUE, GREEN, SINGLE), key=lambda each: each != first):
            if (slot == SINGLE) != (fleets.FLEET not in document):
                continue
            members = self._members(slot, document)
            if slot != SINGLE and sorted(coloured[slot]) != sorted(members):
                continue
            groups = [each for each in self._groups.get(members).values() if each is not None]
            if fleets.equal(self._environment, groups, document):
                return slot
        return None

    def _reusable(
        self,
        there: list[str],
        members: tuple[str, ...],
        document: Document,
        secrets: Mapping[str, str],
    ) -> bool:
        if sorted(there) != sorted(members):
            return False
        groups = [each for each in self._groups.get(members).values() if each is not None]
        marks = [(each.get("tags") or {}).get(names.TAG_SECRETS) for each in groups]
        return (
            fleets.equal(self._environment, groups, document)
            and all(live_of(each).running for each in groups)
            and all(same_secrets(secrets, mark) for mark in marks)
        )

    def _announce(self, profile: Json | None, slot: str, document: Document) -> None:
        """Let the tags say what is asked for, before it is; what serves stays."""
        own = _slot(slot, fleets.copies_of(document))
        known = (profile or {}).get("tags") or {}
        if profiles.SWITCHED in known:
            own[profiles.SWITCHED] = known[profiles.SWITCHED]
        tags = {**document["tags"], **own}
        if profile is not None:
            self._profile.patch(tags)
            return
        alone = self._hosts([self._environment.name]) or {}
        self._profile.put(alone, tags)

    def _point(self, profile: Json, tags: Mapping[str, str]) -> None:
        """Let the shared name lead to what was applied last, with these tags."""
        hosts = self._hosts(self._applied(profile)[1])
        if hosts is None:
            raise EngineError(
                f"a group of {self.what} has no address",
                "look at it in the portal: it may have been deleted; then run this again",
            )
        own = {name: profile["tags"][name] for name in profiles.OWN_TAGS if name in profile["tags"]}
        switched = endpoints_of(profile).keys() != hosts.keys()
        if switched:
            own[profiles.SWITCHED] = profiles.moment(self._now())
        self._profile.put(hosts, {**tags, **own})
        if switched:
            self._az.say.step(f"{self._host} leads to {' and '.join(sorted(hosts))} now")

    def _make(
        self,
        members: tuple[str, ...],
        document: Document,
        secrets: Mapping[str, str],
        check: Check,
    ) -> None:
        for name in members:
            one = fleets.member(self._environment, document, name)
            self._groups.put(name, documents.with_secrets(one, secrets), check)

    def _hosts(self, members: tuple[str, ...] | list[str]) -> dict[str, str] | None:
        """The host names of groups; None as long as one has none."""
        found = {}
        for name, group in self._groups.get(members).items():
            host = (((group or {}).get("properties") or {}).get("ipAddress") or {}).get("fqdn")
            if not host:
                return None
            found[name] = str(host)
        return found

    def _wait_for_hosts(self, members: tuple[str, ...]) -> None:
        waited = 0.0
        while self._hosts(members) is None and waited < _HOST_SECONDS:
            self._sleep(_PAUSE_SECONDS)
            waited += _PAUSE_SECONDS

    def _delete(self, profile: Json | None, doomed: list[str], check: Check = lambda: None) -> None:
        """Delete groups that do not serve, when no resolver can have their addresses any more."""
        left = profiles.grace_left(profile, self._now()) if profile and doomed else 0.0
        if left > 0:
            self._az.say.step(
                f"{', '.join(doomed)}: waiting {left:.0f} s, clients may still have the address"
            )
            self._sleep(left)
            check()
        self._groups.delete(doomed)

    def _left_over(self, profile: Json) -> list[str]:
        """Groups of a colour that neither serve nor were applied last."""
        needed = {*self._applied(profile)[1], *endpoints_of(profile)}
        return [name for name in _all(self._groups.coloured()) if name not in needed]

    def _all_but(self, slot: str) -> list[str]:
        coloured = self._groups.coloured()
        return [name for colour in coloured if colour != slot for name in coloured[colour]]

    def _there(self) -> list[str]:
        profile = self._profile.get()
        members = self._applied(profile)[1] if profile else (self._environment.name,)
        return [name for name, group in self._groups.get(members).items() if group is not None]

    def _required(self) -> Json:
        profile = self._profile.get()
        if profile is None:
            raise EngineError(
                f"there is no {self.what}", "make it: `.venv/bin/python -m engine.deploy up ENV`"
            )
        return profile


def _slot(slot: str, copies: int) -> dict[str, str]:
    return {profiles.SLOT: slot, profiles.COPIES: str(copies)}


def _newer(group: Json, profile: Json) -> bool:
    """Whether a rollout of the single group is the last one, and was not undone."""
    own, shared = group.get("tags") or {}, profile.get("tags") or {}
    if marks.state(own) == marks.RESTORING:
        return False
    return (marks.rollout(own) or "") >= (marks.rollout(shared) or "")


def _other(slot: str | None) -> str:
    return GREEN if slot == BLUE else BLUE


def _all(coloured: Mapping[str, list[str]]) -> list[str]:
    return [name for found in coloured.values() for name in found]
