"""Take the steps one after the other: look, make what is missing, repair what is wrong, look again.

Every step looks before it acts, so a run that was killed anywhere is taken up by the next one, and
a run where all is there changes nothing.

A refusal by Azure or GitHub is reported with the fix that fits a bootstrap. Commands are shown as a
person would type them: quoted, asking for the ids that are not known yet.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from engine.deploy.az_error import AzError
from engine.deploy.bootstrap.expect import Known, met, resolved
from engine.deploy.bootstrap.looks import Clock, Looks, Tool
from engine.deploy.bootstrap.step import Argument, Command, Found, Output, Rule, Step
from engine.deploy.gh import GhError
from engine.deploy.say import Say
from engine.errors import EngineError

_OWNER = (
    "this needs Owner on the subscription, or Contributor together with Role Based Access Control "
    "Administrator: ask who gave you the subscription, or hand them what --dry-run prints"
)
_BY_CODE = {
    "AuthorizationFailed": _OWNER,
    "RoleDefinitionWithSameNameExists": "another subscription of this directory has a role of this "
    "name: change `name` in deploy/project.yaml, or delete that role if nobody needs it",
    "RoleAssignmentLimitExceeded": "the subscription has as many role assignments as it may; "
    "delete some that belong to nobody (they show as unknown identities in the portal)",
    "RequestDisallowedByPolicy": "a policy of your organisation forbids it; the message names it. "
    "Often it allows other regions (deploy/project.yaml) or asks for certain tags",
    "LocationNotAvailableForResourceType": "the message lists the regions that have it: change "
    "`region` in deploy/project.yaml or deploy/environments/",
    "SubscriptionNotFound": "az account list --output table shows those of this login; "
    "az account set --subscription … chooses",
    "ReadOnlyDisabledSubscription": "the subscription is disabled, most often for a bill or an "
    "ended trial: see Subscriptions in the portal",
}
_BILLING_PLAN = (
    "GitHub asks for a paid plan for reviewers in a private repository: make it public, upgrade, "
    "or go without a reviewer (--reviewer none; then everyone who may push to main deploys to "
    "production)"
)


def not_in_plan(error: AzError | GhError) -> bool:
    """Whether GitHub would do it in a public repository, or for a plan that costs more."""
    return error.status == 403 and "upgrade to" in error.message.lower()


def explained(step: Step, error: AzError | GhError) -> EngineError:
    """The error with the step it belongs to, and the fix that fits a bootstrap."""
    if isinstance(error, GhError):
        fix = _BILLING_PLAN if "billing plan" in error.message else error.fix
    else:
        fix = _BY_CODE.get(error.code, _OWNER if error.status == 403 else error.fix)
    return EngineError(f"{step.what}: {error.cause}", f"{fix}. Then run the same command again")


_SAFE_IN_QUOTES = str.maketrans({"\\": "\\\\", '"': '\\"', "$": "\\$", "`": "\\`"})


def typed(command: Command, known: Known, steps: dict[str, Step]) -> str:
    """One line for a shell. An id that does not exist yet becomes the command that asks for it.

    Args:
        steps: by key, for the look of the step that an id comes from.
    """
    parts = (_typed(each, known, steps) for each in command.arguments)
    line = " ".join([command.program, *parts])
    return line if command.body is None else f"echo {shlex.quote(command.body)} | {line}"


def _typed(argument: Argument, known: Known, steps: dict[str, Step]) -> str:
    text = resolved(argument, known)
    if text is not None:
        return shlex.quote(text)
    assert isinstance(argument, Output)  # noqa: S101 - a text is always known
    step = steps[argument.step]
    look = typed(step.look, known, steps)
    if step.look.program == "kubectl":
        path = re.sub(r"\.(\d+)", r"[\1]", argument.path)
        return f'"$({look.removesuffix(" --output json")} --output jsonpath={{.{path}}})"'
    query = _query(step, argument.path, known)
    return f'"{argument.prefix.translate(_SAFE_IN_QUOTES)}$({look} --query {query} --output tsv)"'


def _query(step: Step, path: str, known: Known) -> str:
    """JMESPath to the value; a list is searched by the first condition, which is a plain text."""
    if step.among is None:
        return path
    name, value = next(iter(step.among.where.items()))
    at = step.among.path
    return shlex.quote(f"{at}[?{name}=='{resolved(value, known)}'] | [0].{path}")


PATIENCE_SECONDS = 240.0
THERE, CHECK, MADE, REPAIRED = "there", "to check", "made", "repaired"
REFUSED = "for an administrator"

# What was made a moment ago is not known everywhere in Azure at once; these answers pass.
NOT_YET = frozenset(
    {"PrincipalNotFound", "RoleDefinitionDoesNotExist", "MissingSubscriptionRegistration"}
    | {"ResourceGroupNotFound", "ParentResourceNotFound"}
)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a step, or would in a dry run; ``wrong`` is what only a person can repair.

    ``why`` is GitHub's reason where the plan of the repository does not have it.
    """

    step: Step
    outcome: str
    wrong: tuple[Rule, ...] = ()
    why: str = ""


class _NotGranted(Exception):
    """The login may not give rights; ``commands`` would."""

    def __init__(self, commands: Sequence[Command]) -> None:
        super().__init__()
        self.commands = commands


class Runner:
    """Takes steps. A dry run prints the commands that would change something, and runs none."""

    def __init__(
        self,
        tools: Mapping[str, Tool],
        say: Say,
        *,
        dry_run: bool = False,
        clock: Clock | None = None,
        explain: Callable[[Step, AzError | GhError], EngineError] = explained,
    ) -> None:
        self._tools = tools
        self._say = say
        self._dry_run = dry_run
        self._explain = explain
        self._clock = clock or Clock()
        self._looks = Looks(tools, say, self._clock)
        self._known: dict[str, Found] = {}
        self._steps: dict[str, Step] = {}
        self._number = ""
        self.refused: dict[str, list[str]] = {}
        """By what gives rights and was refused, the commands for who may do that."""

    def run(self, steps: Sequence[Step]) -> tuple[Result, ...]:
        """Take all steps.

        Raises:
            EngineError: one cannot be done; what was done until then stays, and is found again.
        """
        self._steps = {step.key: step for step in steps}
        results = []
        for number, step in enumerate(steps, 1):
            self._number = f"{number:2d}/{len(steps)}"
            try:
                results.append(self._take(step))
            except _NotGranted as error:
                results.append(self._hand_over(step, error.commands))
            except (AzError, GhError) as error:
                if not (step.optional and (error.status == 409 or not_in_plan(error))):
                    raise self._explain(step, error) from error
                self._say.step(f"{self._number}  {CHECK}: {step.what}")
                why = error.message if not_in_plan(error) else ""
                results.append(Result(step, CHECK, step.rules, why))
        return tuple(results)

    def _hand_over(self, step: Step, commands: Sequence[Command]) -> Result:
        """Note the commands of a step for an administrator; the next run finds it done."""
        self._say.step(f"{self._number}  {REFUSED}: {step.what}")
        self.refused[step.key] = [typed(each, self._known, self._steps) for each in commands]
        return Result(step, REFUSED)

    def known(self, step: str, path: str) -> str | None:
        """A value that a step's look showed."""
        return resolved(Output(step, path), self._known)

    def _take(self, step: Step) -> Result:
        found = self._looks.settled(step, self._known)
        if found is None:
            return self._make(step)
        self._known[step.key] = found
        wrong = self._wrong(step, found)
        repairs = [(rule, rule.repair) for rule in wrong if rule.repair is not None]
        hopeless = tuple(rule for rule in wrong if rule.repair is None)
        if not repairs:
            outcome = CHECK if hopeless else THERE
            self._say.step(f"{self._number}  {outcome}: {step.what}")
            return Result(step, outcome, hopeless)
        reasons = "; ".join(rule.wrong for rule, _ in repairs)
        # Two rules may ask for the same repair; a dictionary keeps the first and the order.
        commands = dict.fromkeys(each for _, repair in repairs for each in repair(found))
        self._change(step, tuple(commands), f"to repair: {reasons}")
        return Result(step, REPAIRED, hopeless)

    def _make(self, step: Step) -> Result:
        if step.guard is not None:
            refusal = step.guard.refuse(self._looks.ask(step.guard.look))
            if refusal is not None:
                raise EngineError(*refusal)
        self._change(step, step.make, step.purpose)
        return Result(step, MADE)

    def _change(self, step: Step, commands: Sequence[Command], why: str) -> None:
        if self._dry_run:
            print(f"\n# {step.what}: {why}")
            for command in commands:
                print(typed(command, self._known, self._steps), flush=True)
            return
        self._say.step(f"{self._number}  {step.what}")
        self._say.detail(why)
        parts = [part for each in commands for part in each.arguments]
        needed = {part.step for part in parts if isinstance(part, Output)}
        if step.grants and needed & self.refused.keys():
            raise _NotGranted(commands)
        give_up = self._clock.now() + PATIENCE_SECONDS
        try:
            for command in commands:
                self._patiently(command, give_up)
        except (AzError, GhError) as error:
            # Another run may have been quicker, or an answer was lost on its way.
            self._looks.forget()
            if not self._right(step):
                if step.grants and error.status == 403:
                    raise _NotGranted(commands) from error
                raise
        self._confirm(step, give_up)

    def _patiently(self, command: Command, give_up: float) -> None:
        arguments = [str(resolved(each, self._known)) for each in command.arguments]
        while True:
            self._looks.forget()
            try:
                self._tools[command.program].change(*arguments, stdin=command.body)
                return
            except AzError as error:
                if error.code not in NOT_YET or self._clock.now() > give_up:
                    raise
                self._say.detail(f"{error.code}: not known everywhere yet; trying again")
            self._looks.wait()

    def _confirm(self, step: Step, give_up: float) -> None:
        """Wait until what was made or repaired shows: the next steps build on it."""
        self._looks.forget()
        while not self._right(step, made=True):
            if self._clock.now() > give_up:
                raise EngineError(
                    f"{step.what} was made, and does not show",
                    "run the same command again in some minutes: nothing is done twice",
                )
            self._looks.wait()

    def _right(self, step: Step, *, made: bool = False) -> bool:
        """Whether it is there, with nothing left to repair; then it is known."""
        found = self._looks.settled(step, self._known, made=made)
        if found is None:
            return False
        self._known[step.key] = found
        return all(rule.repair is None for rule in self._wrong(step, found))

    def _wrong(self, step: Step, found: Found) -> list[Rule]:
        return [rule for rule in step.rules if not met(rule, found, self._known)]
