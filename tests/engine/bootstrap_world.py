"""A pretended Azure for bootstraps: it knows the steps, and what each command of theirs makes."""

from __future__ import annotations

import copy
from typing import Any

from engine.deploy.bootstrap.expect import resolved
from engine.deploy.bootstrap.inputs import Account, Inputs, Repository, Reviewer
from engine.deploy.bootstrap.step import Command, Output, Step
from engine.deploy.config.project import Project
from engine.deploy.targets.kind import environment_model

SUBSCRIPTION = "11111111-2222-4333-8444-555555555555"
PREFIX = "repo:octo-org@1/iris-service@2"


def inputs(
    target: str = "aci",
    *,
    gpu: str = "none",
    subject: str | None = PREFIX,
    github: bool = True,
    **fields: object,
) -> Inputs:
    """What a bootstrap stands on, with two environments; ``fields`` are further ones of both."""
    project = Project(
        name="iris-service",
        title="Iris Service",
        owner="octo-org",
        accelerator="cpu" if gpu == "none" else "gpu",
        registry="irisservice",
        region="westeurope",
        shared_resource_group="iris-service-shared",
    )
    content = {"target": target, "gpu": gpu, "region": "westeurope", **fields}
    environments = {
        stage: environment_model(content).model_validate(
            {
                "stage": stage,
                "resource_group": f"iris-service-{stage}",
                "name": f"iris-service-{stage}",
                **content,
            }
        )
        for stage in ("staging", "production")
    }
    repository = Repository("octo-org/iris-service", PREFIX, "main", Reviewer("ann", 7))
    account = Account(SUBSCRIPTION, "Pay as you go", "tenant-id", "ann@example.com")
    return Inputs(project, environments, account, subject, repository if github else None)


class Killed(BaseException):
    """The process ends here, without any chance to clean up."""


class PretendedAzure:
    """Stands in for `az`: a command of a step makes what obeys the step's rules.

    ``die_at`` is the change, counted from 1, before or after which the process is killed.
    """

    def __init__(self, steps: tuple[Step, ...]) -> None:
        self._steps = steps
        self._made: dict[str, Any] = {}
        self.registered: set[str] = set()
        self.changes: list[tuple[str, ...]] = []
        self.die_at = 0
        self.die_before = False

    def find(self, *arguments: str) -> Any:
        if arguments[:2] == ("provider", "list"):
            return [self._provider(each) for each in _namespaces(self._steps)]
        if arguments[:2] == ("acr", "check-name"):
            return {"nameAvailable": True}
        mine = [step for step in self._steps if step.look.arguments == arguments]
        return _together([(each, self._made[each.key]) for each in mine if each.key in self._made])

    def change(self, *arguments: str, stdin: str | None = None) -> Any:
        self.changes.append(arguments)
        dies = len(self.changes) == self.die_at
        if dies and self.die_before:
            raise Killed
        if arguments[:2] == ("provider", "register"):
            self.registered.add(arguments[3])
        else:
            step = self._step_of(arguments)
            self._made[step.key] = self._thing(step)
        if dies:
            raise Killed

    def spoil(self, key: str, path: str, value: Any) -> None:
        """Let somebody change what a step made."""
        _set(self._made[key], path, value)

    def lose(self, key: str) -> None:
        """Let somebody delete what a step made."""
        del self._made[key]

    def state(self) -> dict[str, Any]:
        """Everything that exists."""
        return {"registered": sorted(self.registered), **copy.deepcopy(self._made)}

    def _provider(self, namespace: str) -> dict[str, str]:
        state = "Registered" if namespace in self.registered else "NotRegistered"
        return {"namespace": namespace, "registrationState": state}

    def _step_of(self, arguments: tuple[str, ...]) -> Step:
        for step in self._steps:
            commands = list(step.make)
            for rule in step.rules:
                if rule.repair is not None and step.key in self._made:
                    commands += rule.repair(self._made[step.key])
            if any(self._typed(command) == arguments for command in commands):
                return step
        raise AssertionError(f"no step has this command: {arguments}")

    def _typed(self, command: Command) -> tuple[str | None, ...]:
        return tuple(resolved(each, self._made) for each in command.arguments)

    def _thing(self, step: Step) -> dict[str, Any]:
        name = step.key.replace(" ", "-")
        thing: dict[str, Any] = {
            "id": f"/ids/{name}",
            "principalId": f"principal-of-{name}",
            "clientId": f"client-of-{name}",
            "customerId": f"customer-of-{name}",
        }
        if isinstance(step.state, str) and step.state:
            _set(thing, step.state, "Succeeded")
        for path, value in (step.among.where if step.among else {}).items():
            _set(thing, path, resolved(value, self._made))
        for rule in step.rules:
            if isinstance(rule.path, str) and not rule.refused:
                wanted: Any = rule.wanted
                if isinstance(wanted, Output):
                    wanted = resolved(wanted, self._made)
                _set(thing, rule.path, wanted)
        return thing


def _namespaces(steps: tuple[Step, ...]) -> list[str]:
    return [str(command.arguments[3]) for step in steps[:1] for command in step.make]


def _together(made: list[tuple[Step, Any]]) -> Any:
    """What one look shows: a thing, or the list that several steps find theirs in."""
    whole: Any = next((copy.deepcopy(thing) for step, thing in made if step.among is None), None)
    listed = [(step.among.path, copy.deepcopy(thing)) for step, thing in made if step.among]
    if not listed or not listed[0][0]:
        return whole if whole is not None else [thing for _, thing in listed] or None
    _set(whole, listed[0][0], [thing for _, thing in listed])
    return whole


def _set(thing: dict[str, Any], path: str, value: Any) -> None:
    *way, last = path.split(".")
    place: Any = thing
    for position, name in enumerate(way):
        if name.isdigit():
            place = place[int(name)]
            continue
        following = way[position + 1] if position + 1 < len(way) else last
        place = place.setdefault(name, [{}] if following.isdigit() else {})
    place[last] = list(value) if isinstance(value, tuple) else value
