"""`make rehearse`: the whole story of a deployment, to watch, with no Azure account.

A repository is generated and does what its owner would do on the first day: bootstrap, push,
staging, verify, production, a release that is broken and is put back by itself, status, rollback,
HTTPS, a release beside the old one and the switch to it, another kind of place, clean-up, the end.
`--picture FILE` draws the switch as SVG. Every command is the real one, with the real Azure CLI,
Docker, registry and Caddy. Azure itself and GitHub are the double of tests/azure_double; Pebble
issues the certificates. Nothing leaves this machine. What Docker prints while it builds and pushes
goes to build/rehearse.log, with all the rest.
"""

from __future__ import annotations

import argparse
import inspect
import io
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

from scripts.rendering import render
from tests.azure_double.client import AzureDouble
from tests.pipeline.authority import Authority, edge_image
from tests.pipeline.bootstrap_world import REMOTE, REPOSITORY_NAME
from tests.pipeline.rollout_world import DERIVED, derived
from tests.service.containers import docker, docker_client, remove_image

ROOT = Path(__file__).resolve().parent.parent
LOG = ROOT / "build" / "rehearse.log"
EDGE = "aci-ml-template-rehearse:edge"
LAST_LINES = 20
NOISE = re.compile(
    r"#\d+ |\[\+\] Building|Step \d+/\d+ :| ---> |[0-9a-f]{12}: |The push refers to"
    r"|[\w.-]+: digest: |$"
)
"""Lines that Docker prints while it builds and pushes."""
_COLUMNS = 120
_FETCHED_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
DEPLOY = (".venv/bin/python", "-m", "engine.deploy")
BLUE, BOLD, PLAIN = "\033[34m", "\033[1m", "\033[0m"


class Story:
    """Tells what comes, runs it in the repository, and stops when it does not end as told."""

    def __init__(
        self, repository: Path, environment: dict[str, str], log: Path, chapters: int
    ) -> None:
        self._repository = repository
        self._environment = dict(environment)
        self._log = log
        self._chapters = chapters
        self._begun = time.monotonic()
        self._chapter = 0
        self.shown: list[str] = []

    def tell(self, text: str) -> None:
        """A new chapter."""
        self._chapter += 1
        seconds = round(time.monotonic() - self._begun)
        words = textwrap.fill(" ".join(text.split()), 90)
        title = f"{self._chapter} of {self._chapters} [{seconds} s] {words}"
        self._show(f"\n{title}\n", BLUE + BOLD)

    def run(self, *command: str, code: int = 0, environment: dict[str, str] | None = None) -> None:
        """Run a command and show its output without ``NOISE``; in Azure's world if none is given.

        Raises:
            SystemExit: it ended with another exit code than ``code``.
        """
        self._show(f"$ {' '.join(command)}\n", BOLD)
        world = environment or self._environment
        pipe, joined = subprocess.PIPE, subprocess.STDOUT
        lines = []
        with (
            self._log.open("a", encoding="utf-8") as log,
            subprocess.Popen(
                command, cwd=self._repository, env=world, stdout=pipe, stderr=joined, text=True
            ) as process,
        ):
            for line in process.stdout or ():
                log.write(line)
                lines.append(line)
                if NOISE.match(line) is None:
                    self._show(line)
        if process.returncode != code:
            print(f"\nthe last lines of {self._log}:\n{''.join(lines[-LAST_LINES:])}", flush=True)
            raise SystemExit(f"error: exit code {process.returncode} instead of {code}")

    def ask(self, *command: str) -> str:
        """Run a command and give what it printed."""
        done = subprocess.run(
            command,
            cwd=self._repository,
            env=self._environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return done.stdout.strip()

    def trust(self, roots: Path) -> None:
        """Let every client from now on trust the certificates of an authority too."""
        known = Path(self._environment["SSL_CERT_FILE"]).read_bytes()
        both = roots.with_name("trusted.pem")
        both.write_bytes(known + b"\n" + roots.read_bytes())
        # curl prefers a variable of its own.
        self._environment |= dict.fromkeys(("SSL_CERT_FILE", "CURL_CA_BUNDLE"), str(both))

    def deploy(self, *arguments: str, code: int = 0) -> None:
        """Run `python -m engine.deploy`."""
        self.run(*DEPLOY, *arguments, code=code)

    def _show(self, text: str, escape: str = "") -> None:
        painted = f"{escape}{text}{PLAIN}" if escape else text
        self.shown.append(painted)
        print(painted if sys.stdout.isatty() else text, end="", flush=True)


def generate(folder: Path) -> Path:
    """A new repository with a remote, as after `gh repo create`."""
    repository = render(folder)
    git(repository, "remote", "add", "origin", REMOTE)
    return repository


def git(repository: Path, *arguments: str) -> None:
    """Run git in a repository."""
    who = ("-c", "user.name=you", "-c", "user.email=you@example.invalid")
    subprocess.run(["git", *who, *arguments], cwd=repository, check=True)


def first_day(story: Story, repository: Path, double: AzureDouble) -> None:
    """From nothing to production."""
    story.tell("The tools of the deploy are installed from a lock, into .venv.")
    story.run("make", "--no-print-directory", ".venv/.deploy", environment=dict(os.environ))
    story.tell(
        """An empty subscription. Bootstrap makes what the service needs, with the fewest rights:
        resource groups, a registry, identities that GitHub's jobs may use without a password,
        logs, and GitHub's environments. It may be run again at any time."""
    )
    story.deploy("bootstrap")
    story.tell("The image is built once, with the golden check inside, and pushed.")
    story.deploy("push")
    story.tell("Staging gets the digest; it is kept because it answers as in training.")
    story.deploy("up", "staging")
    story.tell("Once more: nothing to do, and nothing restarts.")
    story.deploy("up", "staging")
    story.tell("Anybody may ask the same questions of any address.")
    story.deploy("verify", "staging")
    story.tell("Production gets the same digest.")
    story.deploy("up", "production")


@contextmanager
def broken(story: Story, repository: Path) -> Iterator[str]:
    """The image of this commit with a damaged model, by its digest in the registry."""
    revision = story.ask("git", "rev-parse", "HEAD")
    server = story.ask("az", "acr", "list", "--query", "[0].loginServer", "--output", "tsv")
    with derived(f"{server}/{repository.name}:{revision}", DERIVED["unready"]) as local:
        name = f"{server}/{repository.name}:broken"
        docker("tag", local, name)
        story.ask(docker_client(), "push", "--quiet", name)
        yield docker("image", "inspect", "--format", "{{index .RepoDigests 0}}", name)
        docker("image", "rm", "--force", name, check=False)


def bad_day(story: Story, repository: Path, double: AzureDouble) -> None:
    """A release that is broken, and one that is taken back."""
    story.tell(
        """A release whose model was damaged on its way. The deploy fails with the reason, and
        production has the release before it again."""
    )
    with broken(story, repository) as digest:
        story.deploy("up", "production", "--image", digest, code=1)
    story.tell("What runs where.")
    story.deploy("status")
    story.tell("A change that is not liked afterwards: deployed, and rolled back.")
    path = repository / "deploy" / "environments" / "production.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('LOG_LEVEL: "info"', 'LOG_LEVEL: "debug"'), encoding="utf-8")
    git(repository, "commit", "--quiet", "--all", "--message", "Log more")
    story.deploy("up", "production")
    story.deploy("rollback", "production")
    story.deploy("doctor", "production")


def push_edge(story: Story, repository: Path, authority: Authority) -> None:
    """Put the image that ends HTTPS, of this commit and with trust in an authority that no system
    knows, into the registry.
    """
    edge_image(repository, authority, repository.parent, EDGE)
    revision = story.ask("git", "rev-parse", "HEAD")
    server = story.ask("az", "acr", "list", "--query", "[0].loginServer", "--output", "tsv")
    name = f"{server}/{repository.name}-edge:{revision}"
    docker("tag", EDGE, name)
    story.ask(docker_client(), "push", "--quiet", name)
    remove_image(name)
    remove_image(EDGE)


def day_without_a_gap(story: Story, repository: Path, double: AzureDouble) -> None:
    """HTTPS, a release beside the old one, and the switch."""
    with Authority(double, repository.parent) as authority:
        shared = f"{repository.name}-staging"
        host = f"{shared}.trafficmanager.net"
        authority.shared[host] = f"{shared}-"
        story.trust(authority.roots)
        story.tell(
            """Staging gets HTTPS, and a name that can lead to any group. Bootstrap makes the share
            that keeps the certificates, and what the switch needs."""
        )
        path = repository / "deploy" / "environments" / "staging.yaml"
        text = path.read_text(encoding="utf-8").replace("switch: in_place", "switch: beside")
        text += f"https: {{email: ops@example.org, authority: {authority.directory}}}\n"
        path.write_text(text, encoding="utf-8")
        git(repository, "commit", "--quiet", "--all", "--message", "HTTPS, and switch beside")
        push_edge(story, repository, authority)
        story.deploy("bootstrap", "--without-github")
        story.shown.clear()
        story.tell(
            """A release is made beside the one that serves and verified at its own address; then
            one request lets the name lead to it. The first question orders the certificate."""
        )
        story.deploy("up", "staging")
        story.run("curl", "--silent", "--show-error", "--fail", f"https://{host}/readyz")
        story.tell("A release that is broken never gets under that name.")
        with broken(story, repository) as digest:
            story.deploy("up", "staging", "--image", digest, code=1)
        story.deploy("status")


def day_elsewhere(story: Story, repository: Path, double: AzureDouble) -> None:
    """The same release on another kind of place."""
    story.tell(
        """Production moves to Container Apps: the file changes by one word, and the release that
        serves is made there too. The container group serves until it is removed."""
    )
    path = repository / "deploy" / "environments" / "production.yaml"
    text = path.read_text(encoding="utf-8")
    # An app has twice as many GB as CPUs.
    path.write_text(f"{text}# on containerapps: memory_gb: 2\n", encoding="utf-8")
    story.deploy("move", "production", "--to", "containerapps", "--bootstrap")
    story.run("git", "--no-pager", "diff", "--unified=0")
    story.deploy("status")
    story.deploy("move", "production", "--finish", "--yes")


def last_day(story: Story, _: Path, double: AzureDouble) -> None:
    """Clean up, and leave nothing that bills."""
    story.tell("Old images go; what is deployed, and the release before it, stay.")
    story.deploy("prune", "--keep", "1")
    story.tell("Staging sleeps at night; a stopped container group costs nothing.")
    story.deploy("stop", "staging")
    story.tell("The end: everything is removed.")
    story.deploy("down", "--all", "--yes")


def draw(lines: Sequence[str], file: Path) -> None:
    """A picture of what a terminal showed, as SVG; nothing in it is fetched from elsewhere."""
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), color_system="standard")
    console.print(Text.from_ansi("".join(lines)), soft_wrap=False)
    drawing = console.export_svg(title="make rehearse", clear=False)
    file.write_text(_FETCHED_FONT.sub("", drawing), encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """Play the story from beginning to end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path, metavar="FILE")
    picture = parser.parse_args(arguments).picture
    days = (first_day, bad_day, day_without_a_gap, day_elsewhere, last_day)
    chapters = sum(inspect.getsource(day).count("story.tell(") for day in days)
    LOG.parent.mkdir(exist_ok=True)
    LOG.write_text("", encoding="utf-8")
    print(
        f"{chapters} parts; five to ten minutes on two cores. What Docker prints while it builds "
        f"and pushes goes to {LOG.relative_to(ROOT)}.",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="rehearse-") as name:
        folder = Path(name)
        with AzureDouble(folder / "azure") as double:
            double.github_user("octo-org")
            double.github_repository(REPOSITORY_NAME)
            repository = generate(folder)
            environment = double.env(double.owner)
            environment["DOCKER"] = docker_client()
            story = Story(repository, environment, LOG, chapters)
            for day in days:
                story.shown.clear()
                day(story, repository, double)
                if picture and day is day_without_a_gap:
                    draw(story.shown, picture)
    print("\nThat was all. The double is gone, and so is everything that it held.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
