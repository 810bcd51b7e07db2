"""A service that was bootstrapped and deployed on the double, for the tests of what watches it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.azure_double.client import AzureDouble
from tests.service.containers import docker, docker_client, remove_image

from .bootstrap_world import SLUG, Bootstrap, Ran, changes, copied
from .commands import Azure

STAGE = "staging"
GROUP, SHARED = f"{SLUG}-{STAGE}", f"{SLUG}-shared"
NAME = f"{SLUG}-{STAGE}"
PREFIX = f"repo:octo-org/{SLUG}"
EMAILS = ("oncall@example.org", "second@example.org")
FILE = Path("deploy") / "environments" / f"{STAGE}.yaml"


@dataclass
class Watched:
    """A deployed service, and the commands that were run on it in this order.

    Attributes:
        said: everything that any command wrote, for a look for secrets.
    """

    bootstrap: Bootstrap
    az: Azure
    job: dict[str, str]
    image: str
    said: list[str] = field(default_factory=list)

    @property
    def double(self) -> AzureDouble:
        """Azure."""
        return self.bootstrap.double

    def __call__(self, *arguments: str, env: dict[str, str] | None = None) -> Ran:
        """Run a command of the service's `deploy`, as the owner where nobody else is named."""
        ran = self.bootstrap.deploy(env or self.owner, *arguments)
        self.said += [ran.out, ran.err]
        return ran

    @property
    def owner(self) -> dict[str, str]:
        """The environment of the owner's terminal."""
        return {**self.az.env, "DOCKER": docker_client()}

    def changed_by(
        self, *arguments: str, env: dict[str, str] | None = None
    ) -> tuple[Ran, list[str]]:
        """A command, and the requests of it that changed something."""
        before = len(changes(self.double))
        ran = self(*arguments, env=env)
        return ran, changes(self.double)[before:]

    def configure(self, old: str, new: str) -> None:
        """Change a line of staging's file; nothing is committed."""
        path = self.bootstrap.service / FILE
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    def kept(self, path: str, group: str = GROUP) -> dict[str, Any] | None:
        """A resource as the double keeps it, by the end of its id."""
        return self.double.resource(
            f"{self.double.subscription_id}/resourceGroups/{group}/providers/{path}"
        )

    def body(self, path: str, group: str = GROUP) -> dict[str, Any]:
        """What is shown of a resource that must be there."""
        found = self.kept(path, group)
        assert found is not None, path
        shown: dict[str, Any] = found["body"]
        return shown

    def rules(self) -> dict[str, dict[str, Any]]:
        """All alert rules by the names that the runbook has."""
        start = (
            f"{self.double.subscription_id}/resourceGroups/{GROUP}/providers/Microsoft.Insights/"
        )
        found = {}
        for each in self.double.resources(start.rpartition("/providers/")[0]):
            kind, _, name = each.rpartition("/providers/")[2].partition("/")[2].partition("/")
            if kind in ("metricAlerts", "scheduledQueryRules"):
                found[name.removeprefix(f"{NAME}-")] = self.body(
                    f"Microsoft.Insights/{kind}/{name}"
                )
        return found

    def secrets(self) -> tuple[str, ...]:
        """The connection string, the key in it, and the workspace's keys."""
        insights = self.body(f"Microsoft.Insights/components/{SLUG}-insights", SHARED)
        workspace = self.kept(f"Microsoft.OperationalInsights/workspaces/{SLUG}-logs", SHARED)
        assert workspace is not None
        properties = insights["properties"]
        keys = workspace["hidden"]
        return (
            properties["ConnectionString"],
            properties["InstrumentationKey"],
            keys["primary"],
            keys["secondary"],
        )

    def end(self) -> None:
        """Remove the image that was built here."""
        server = self.image.partition("@")[0]
        for line in docker("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines():
            if line.startswith(server):
                remove_image(line)


def watched(double: AzureDouble, rendered: Path, python: Path, folder: Path) -> Watched:
    """Bootstrap without GitHub, and push the image; nothing is deployed yet."""
    double.reset()
    service = copied(rendered, folder)
    path = service / FILE
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("email: []", f"email: [{', '.join(EMAILS)}]"), encoding="utf-8")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(service)]
    subprocess.run([*git, "commit", "--quiet", "--all", "--message", "addresses"], check=True)
    bootstrap = Bootstrap(double, service, python)
    az = Azure(double, bootstrap.env(double.owner))
    set_up = bootstrap("--without-github", "--subject-prefix", PREFIX, env=az.env)
    assert set_up.code == 0, set_up.err
    pushed = bootstrap.deploy({**az.env, "DOCKER": docker_client()}, "push")
    assert pushed.code == 0, pushed.err
    identity = az(
        "identity", "show", "--name", f"{SLUG}-deploy-{STAGE}", "--resource-group", SHARED
    )
    job = az.as_job(identity, f"{PREFIX}:environment:{STAGE}")
    return Watched(
        bootstrap, az, {**job.env, "DOCKER": docker_client()}, pushed.out.strip().splitlines()[-1]
    )
