"""`python -m engine.upkeep.update`: take over what is new in the template; `make update`.

.cruft.json records the template, its version and the answers that this repository was generated
with. The recorded version and the new one are rendered, and the difference is merged into the last
commit in a temporary worktree: every file three ways, by git. An `engine/` that you did not change
is therefore replaced as a whole. Locks are not merged: yours are kept, and compiled again where the
requirements changed. Only a complete result reaches the checkout, as staged changes.

With `--patch FILE` the result is written there instead, below a text that explains it, and the
checkout stays as it is; a scheduled workflow offers it.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from engine.upkeep.pins import settled
from engine.upkeep.template import (
    Failed,
    State,
    Template,
    answers,
    expanded,
    git,
    rendered_with,
    run,
)

STATE = ".cruft.json"
UNCHANGED = (
    "The checkout is unchanged. `make update MERGE=1` writes the update into it with both versions "
    "of these places marked, so that you can choose.\n"
)
MARKED = (
    "Both versions are marked there. Edit each file and `git add` it, then run `make lock` and "
    "`make test`, and `git commit`; not `git commit -a`, which would take the marks along. "
    "`git reset --hard` takes the update back.\n"
)
ENGINE = "engine/"
WORKFLOWS = ".github/workflows/"
API_CHECK = "engine/upkeep/api.py"
TOOLS = Path(sys.executable).parent
LOCK_STAMPS = (".serve", ".train", ".deploy", ".dev")

Files = dict[str, str]
"""The files of a tree: path to mode and hash, as `git update-index --index-info` takes them."""


@dataclass(slots=True)
class Merge:
    """What an update came to.

    Attributes:
        title: from which version to which one.
        change: the commit whose difference to its parent is what the template changed.
        tree: the result; empty when there are conflicts.
        conflicts: files that the owner and the template changed in the same place.
        notes: sentences for the owner.
        state: the new content of .cruft.json.
    """

    title: str
    state: State
    change: str = ""
    tree: str = ""
    conflicts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_state(project: Path) -> State:
    """The content of .cruft.json.

    Raises:
        Failed: it is missing or unreadable.
    """
    try:
        state: State = json.loads((project / STATE).read_text(encoding="utf-8"))
        answers(state)
        if not {"template", "commit"} <= state.keys():
            raise KeyError("template and commit")
    except FileNotFoundError:
        raise Failed(
            f"there is no {STATE}, which records the template and the answers of this repository; "
            f"bring it back from your history (git log -- {STATE})"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise Failed(f"{STATE} cannot be read: {error}") from None
    return state


def prepare(
    project: Path, state: State, folder: Path, *, address: str, to: str, choice: Mapping[str, str]
) -> Merge | None:
    """Render both versions and merge; None when the template has nothing new.

    Args:
        project: the checkout; only git's database is written.
        state: the content of .cruft.json.
        folder: a temporary folder.
        address: the template's address, where it is not the recorded one.
        to: tag, branch or commit of the new version; empty: the newest.
        choice: answers to change.

    Raises:
        Failed: the update cannot be made.
    """
    template = Template(expanded(address or state["template"]), folder / "template")
    recorded = state["commit"] or template.generated(project)
    old = recorded and template.find(recorded)
    if not old:
        raise Failed(
            f"{template.address} has no version "
            + (f"{recorded}" if recorded else "that this repository can have been generated from")
            + f": write the nearest one as `commit` into {STATE}, or give TEMPLATE=<address>"
        )
    wanted = to or state.get("checkout") or ""
    new = template.find(f"origin/{wanted}", *([to] if to else ["HEAD"]))
    if new is None:
        raise Failed(f"{template.address} has no tag, branch or commit {to!r}")
    template.check(new, choice)
    before, after = rendered_with(state), {**answers(state), **choice}
    moved = expanded(address or state["template"]) != expanded(state["template"] or "")
    if (old, before) == (new, after) and not moved:
        return None
    base = template.render(old, before, folder / "recorded")
    theirs = template.render(new, after, folder / "new")
    accept_service(project, theirs)
    if not (theirs / STATE).exists():
        raise Failed(f"the version {template.name(new)} is older than this way to update")
    rendered: State = json.loads((theirs / STATE).read_text(encoding="utf-8"))
    title = f"from {template.name(old)} to {template.name(new)}"
    changed = [
        f"{name}={value}" for name, value in after.items() if before.get(name, value) != value
    ]
    merge = Merge(
        title=", ".join([title, *changed]),
        # What else is in the file (`skip`, for cruft) stays.
        state={
            **state,
            **rendered,
            "checkout": to or state.get("checkout"),
        },
    )
    combine(merge, project, _tree(project, base, folder), _tree(project, theirs, folder), folder)
    return merge


def accept_service(project: Path, rendering: Path) -> None:
    """Ask the new engine whether it understands the owner's service.py.

    Raises:
        Failed: it does not.
    """
    mine = project / "service.py"
    if (rendering / API_CHECK).exists() and mine.exists():
        module = API_CHECK.removesuffix(".py").replace("/", ".")
        try:
            run(sys.executable, "-m", module, mine, cwd=rendering)
        except Failed as error:
            told = str(error).splitlines()[-1].removeprefix("error: ")
            raise Failed(f"the new engine does not accept your service.py: {told}") from None


def combine(merge: Merge, project: Path, base: Files, new: Files, folder: Path) -> None:
    """Merge what the template changed into the last commit, in a temporary worktree.

    Args:
        merge: where the result is written.
        project: the checkout.
        base, new: the renderings of the recorded and of the new version.
        folder: a temporary folder.

    Raises:
        Failed: git or uv failed.
    """
    ours = _listed(project, "HEAD")
    edited = sorted(
        path
        for path in base.keys() | ours.keys()
        if path.startswith(ENGINE) and ours.get(path) != base.get(path)
    )
    if edited:
        merge.notes.append(
            f"you changed {len(edited)} file(s) of engine/, merged like your own: "
            + ", ".join(edited)
        )
    else:
        merge.notes.append("engine/ was as generated and is replaced as a whole")
    kept_locks = _keep_own(merge, ours, base, new)
    _settle_pins(project, ours, base, new)
    parent = _commit(project, base, folder)
    merge.change = _commit(project, new, folder, parent)
    with _worktree(project, folder / "merge") as worktree:
        merge.conflicts = apply(merge.change, worktree)
        if merge.conflicts:
            return
        merged = _index(worktree)
        reference = ours if kept_locks else new
        if _requirements(merged) != _requirements(reference):
            compile_locks(worktree)
            merge.notes.append("the locks are compiled again, with the versions that they had")
        (worktree / STATE).write_text(written(merge.state), encoding="utf-8")
        git("add", "--all", cwd=worktree)
        merge.tree = git("write-tree", cwd=worktree).strip()


def apply(change: str, checkout: Path) -> list[str]:
    """Merge a commit's change into a checkout and its index; return the files with conflicts.

    Raises:
        Failed: git refuses, for another reason than a conflict.
    """
    options = ("-c", "merge.directoryRenames=false", "-c", "rerere.enabled=false")
    try:
        git(*options, "cherry-pick", "--no-commit", change, cwd=checkout)
    except Failed:
        names = git("diff", "--name-only", "--diff-filter=U", "-z", cwd=checkout).split("\0")
        if not any(names):
            raise
        return sorted(set(filter(None, names)))
    return []


def compile_locks(worktree: Path) -> None:
    """Run `make lock` there; uv keeps the versions that it finds in a lock.

    Raises:
        Failed: uv finds no versions, or cannot reach an index.
    """
    venv = worktree / ".venv"
    (venv / "bin").mkdir(parents=True)
    for tool in ("python", "uv"):
        (venv / "bin" / tool).symlink_to(TOOLS / tool)
    for stamp in LOCK_STAMPS:
        (venv / stamp).touch()
    outer = {"MAKEFLAGS": "", "MFLAGS": "", "MAKELEVEL": "", "UPGRADE": ""}
    run("make", "--silent", "lock", cwd=worktree, env=outer)
    shutil.rmtree(venv)


def deliver(merge: Merge, project: Path) -> None:
    """Bring the result into the checkout and the index.

    Raises:
        Failed: a file that git does not know is in the way; nothing is changed.
    """
    edited = (project / STATE).read_text(encoding="utf-8")
    # It may be staged already.
    git("reset", "--quiet", "--", STATE, cwd=project)
    (project / STATE).unlink()
    try:
        git("read-tree", "-m", "-u", "HEAD", merge.tree, cwd=project)
    except Failed:
        (project / STATE).write_text(edited, encoding="utf-8")
        raise
    # git writes only what differs from the last commit.
    git("checkout-index", "--force", "--", STATE, cwd=project)


def deliver_conflicts(merge: Merge, project: Path) -> None:
    """Bring the change with its conflicts into the checkout, where git counts them as unmerged.

    Raises:
        Failed: git refuses.
    """
    if git("ls-files", STATE, cwd=project):
        git("checkout", "--quiet", "HEAD", "--", STATE, cwd=project)
    apply(merge.change, project)
    (project / STATE).write_text(written(merge.state), encoding="utf-8")
    git("add", "--", STATE, cwd=project)


def explained(merge: Merge) -> str:
    """What the update does, or why it cannot be done alone."""
    notes = "".join(f"- {note}\n" for note in merge.notes)
    if not merge.conflicts:
        return f"Update {merge.title}:\n{notes}"
    names = "".join(f"  {name}\n" for name in merge.conflicts)
    return f"Update {merge.title}: you and the template changed the same places of\n{names}"


def written(state: State) -> str:
    """The text of .cruft.json, in the form of cruft."""
    return json.dumps(state, ensure_ascii=False, indent=2, separators=(",", ": ")) + "\n"


def main(argv: list[str] | None = None) -> int:
    """The command line; 0, or 1 when the update failed or has conflicts."""
    parser = argparse.ArgumentParser(prog="python -m engine.upkeep.update", description=__doc__)
    parser.add_argument("--template", default="", help="the template's address from now on")
    parser.add_argument("--to", default="", help="tag, branch or commit of it; else the newest")
    parser.add_argument("--choice", type=_choice, default={}, help="question=answer, to change one")
    parser.add_argument("--merge", action="store_true", help="write conflicts into the checkout")
    parser.add_argument("--patch", type=Path, help="write the change here instead of making it")
    options = parser.parse_args(argv)
    try:
        return _update(Path.cwd(), options)
    except Failed as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted; the checkout is unchanged", file=sys.stderr)
    return 1


def _update(project: Path, options: argparse.Namespace) -> int:
    _check_checkout(project)
    state = read_state(project)
    if not (options.template or state["template"]):
        message = "the template's address is not recorded; give it: make update TEMPLATE=<address>"
        if not options.patch:
            raise Failed(message)
        print(message, file=sys.stderr)
        options.patch.write_text("", encoding="utf-8")
        return 0
    with tempfile.TemporaryDirectory(prefix="update-") as name:
        merge = prepare(
            *(project, state, Path(name)),
            address=options.template,
            to=options.to,
            choice=options.choice,
        )
    text = explained(merge) if merge else ""
    if merge and merge.conflicts:
        text += MARKED if options.merge else UNCHANGED
    if options.patch:
        # A plumbing command: the person's settings do not change its form.
        difference = ("diff-tree", "-p", "--binary", "--full-index", "--no-renames", "HEAD")
        patch = git(*difference, merge.tree, cwd=project) if merge and merge.tree else ""
        options.patch.write_text(text + patch, encoding="utf-8", errors="surrogateescape")
    if merge is None:
        print("the template has nothing new")
        return 0
    if merge.conflicts:
        if options.merge:
            deliver_conflicts(merge, project)
        raise Failed(text)
    if not options.patch:
        deliver(merge, project)
        text += "It is staged: `git diff --staged` shows it, `git reset --hard` takes it back.\n"
    print(text, end="")
    return 0


def _check_checkout(project: Path) -> None:
    if git("rev-parse", "--show-prefix", cwd=project).strip():
        raise Failed("this folder is not the root of its git repository; updates need that")
    # Untracked files may stay: git does not overwrite them. The answers may have been edited.
    changed = git("status", "--porcelain", "--untracked-files=no", cwd=project).splitlines()
    if [line for line in changed if line[3:] != STATE]:
        raise Failed(
            "commit or stash your changes first: the update is merged into the last commit"
        )


def _choice(text: str) -> dict[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not question=answer")
    return {name.strip(): value}


def _keep_own(merge: Merge, ours: Files, base: Files, new: Files) -> bool:
    """Take out of both renderings what the template may not change; whether locks are among it."""
    for files in (base, new):
        files.pop(STATE, None)
    gone = sorted(path for path in base if path not in ours and not path.startswith(ENGINE))
    # Of a folder that was removed as a whole, new files stay away too.
    kept_folders = {str(PurePosixPath(path).parent) for path in ours}
    gone_folders = {str(PurePosixPath(path).parent) for path in gone} - kept_folders
    gone += [
        path for path in new if path not in base and str(PurePosixPath(path).parent) in gone_folders
    ]
    missed = [path for path in gone if path in new and new[path] != base.get(path)]
    if missed:
        merge.notes.append("left out, because you removed them: " + ", ".join(missed))
    for path in gone:
        base.pop(path, None)
        new.pop(path, None)
    locks = [path for path in _locks(ours) if path in base]
    if all(ours[path] == base[path] for path in locks):
        return False
    for path in locks:
        base[path] = ours[path]
        if path in new:
            new[path] = ours[path]
    merge.notes.append("your locks are kept")
    return True


def _settle_pins(project: Path, ours: Files, base: Files, new: Files) -> None:
    """Change both renderings so that the pins of actions in workflows cannot conflict."""
    for path in [path for path in base if path.startswith(WORKFLOWS)]:
        if path not in new or path not in ours or base[path] == new[path]:
            continue
        read = (git("cat-file", "blob", each[path].split()[1], cwd=project)
                for each in (base, ours, new))  # fmt: skip
        for files, text in zip((base, new), settled(*read), strict=True):
            blob = git("hash-object", "-w", "--stdin", cwd=project, stdin=text).strip()
            files[path] = f"{files[path].split()[0]} {blob}"


def _locks(files: Files) -> list[str]:
    """A lock is a .txt in a folder `requirements`, and such a folder has an .in of its name."""
    found = [path for path in map(PurePosixPath, files) if path.parent.name == "requirements"]
    names = {path.stem for path in found if path.suffix == ".in"}
    return [str(path) for path in found if path.suffix == ".txt" and path.stem in names]


def _requirements(files: Files) -> Files:
    """What locks are compiled from, and which locks there are."""
    locks = dict.fromkeys(_locks(files), "")
    sources = {
        path: found
        for path, found in files.items()
        if re.search(r"(^|/)requirements/.*\.in$", path)
    }
    return locks | sources


def _tree(project: Path, rendering: Path, folder: Path) -> Files:
    """Store a rendering in the project's git database."""
    (folder / "index").unlink(missing_ok=True)
    index = {
        "GIT_DIR": git("rev-parse", "--absolute-git-dir", cwd=project).strip(),
        "GIT_WORK_TREE": str(rendering),
        "GIT_INDEX_FILE": str(folder / "index"),
    }
    # Forced: what the person's own git ignores everywhere belongs to a rendering as well.
    git("add", "--all", "--force", ".", cwd=rendering, env=index)
    return _index(rendering, env=index)


def _index(checkout: Path, env: Mapping[str, str] | None = None) -> Files:
    lines = git("ls-files", "--stage", "-z", cwd=checkout, env=env).split("\0")
    pairs = (line.split("\t", 1) for line in lines if line)
    return {path: found.rpartition(" ")[0] for found, path in pairs}


def _listed(project: Path, tree: str) -> Files:
    lines = git("ls-tree", "-r", "-z", "--full-tree", tree, cwd=project).split("\0")
    pairs = (line.split("\t", 1) for line in lines if line)
    return {path: " ".join(found.split()[::2]) for found, path in pairs}


def _commit(project: Path, files: Files, folder: Path, parent: str = "") -> str:
    """A commit of these files that no branch holds."""
    index = {"GIT_INDEX_FILE": str(folder / f"index-{parent}")}
    entries = "".join(f"{found}\t{path}\0" for path, found in files.items())
    git("update-index", "-z", "--index-info", cwd=project, stdin=entries, env=index)
    tree = git("write-tree", cwd=project, env=index).strip()
    parents = ("-p", parent) if parent else ()
    return git("commit-tree", tree, *parents, "-m", "Template", cwd=project).strip()


@contextmanager
def _worktree(project: Path, folder: Path) -> Iterator[Path]:
    """A checkout of the last commit beside the owner's."""
    git("worktree", "prune", cwd=project)
    git("worktree", "add", "--quiet", "--detach", folder, "HEAD", cwd=project)
    try:
        yield folder
    finally:
        git("worktree", "remove", "--force", folder, cwd=project)


if __name__ == "__main__":
    # The worktree is removed on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated; the checkout is unchanged"))
    sys.exit(main())
