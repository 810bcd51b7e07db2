"""`az` is run with patience, tells errors apart, and never shows a secret."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from engine.deploy import az as az_module
from engine.deploy.az import Az
from engine.deploy.az_error import AzError, NotLoggedIn, Problem, read_problem
from engine.deploy.journal import KEPT, STARTED, ArmJournal, Record
from engine.deploy.preflight import at_once
from engine.deploy.processes import Finished
from engine.deploy.rollout.guard import Guard, Stopped
from engine.deploy.say import Say
from engine.deploy.targets.aci.target import file_for
from engine.errors import EngineError

from tests.engine.arm_memory import environment
from tests.engine.fake_az import FakeAz, fails, prints

pytestmark = pytest.mark.skipif(os.name != "posix", reason="stand-ins and signals are POSIX's")
LIBRARY = (
    "ERROR: (ResourceNotFound) The group 'x' was not found.\nCode: ResourceNotFound\nMessage: x"
)
REST = 'ERROR: Conflict({"error":{"code":"ContainerGroupTransitioning","message":"still busy"}})'
# As az writes it, with its advice below.
EXPIRED = (
    "ERROR: AADSTS700024: Client assertion is not within its valid time range.\n"
    "Run the command below to authenticate interactively; additional arguments may be added as "
    "needed:\naz logout\naz login\n"
)
LOST = "ERROR: ('Connection aborted.', RemoteDisconnected('Remote end closed connection'))"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeAz:
    made = FakeAz(tmp_path)
    monkeypatch.setenv("AZ", made.program)
    monkeypatch.setattr("engine.deploy.az.time.sleep", lambda _: None)
    return made


@pytest.mark.parametrize(
    ("stderr", "code", "status"),
    [
        (LIBRARY, "ResourceNotFound", 404),
        (REST, "ContainerGroupTransitioning", 409),
        ('ERROR: Bad Gateway({"error":{"code":"X","message":"y"}})', "X", 502),
        ("ERROR: Bad Gateway(<html>)", "BadGateway", 502),
        ("ERROR: Operation returned an invalid status 'Too Many Requests'", "Exit1", 429),
        ("ERROR: Please run 'az login' to setup account.", "NotLoggedIn", 401),
        ("ERROR: AADSTS700082: The refresh token has expired", "NotLoggedIn", 401),
        (LOST, "ConnectionFailed", None),
        ("WARNING: old\nERROR: the following arguments are required: -n", "Exit1", None),
    ],
)
def test_errors_are_told_apart(stderr: str, code: str, status: int | None) -> None:
    problem = read_problem(stderr, 1)
    assert (problem.code, problem.status) == (code, status)
    assert "ERROR" not in problem.message
    assert "WARNING" not in problem.message


def test_capacity_is_no_passing_fault() -> None:
    text = "ERROR: (ServiceUnavailable) The requested resource is not available in 'x'."
    error = AzError(read_problem(text, 1), "az")
    assert not error.transient


@pytest.mark.parametrize(
    ("message", "absent"),
    [
        ('Error: repository "iris-service" is not found.', True),
        ("Error: manifest tagged by abc is not found. Correlation ID: 1.", True),
        ("Error: repository name not known to registry", True),
        ("Error: manifest unknown Detail: sha256:00", True),
        ("The requested data does not exist. Correlation ID: 1.", True),
        ("UNAUTHORIZED: not found, or no rights", False),
        ("The resource with name 'irisservice' could not be found in subscription 'x'.", False),
        ("Unknown host name irisservice.azurecr.io", False),
    ],
)
def test_what_the_registry_does_not_have_is_told_from_what_it_refuses(
    message: str, absent: bool
) -> None:
    assert AzError(read_problem(f"ERROR: {message}", 1), "az").not_in_registry is absent


def test_what_is_missing_is_none(fake: FakeAz) -> None:
    fake.prepare([fails(LIBRARY, 3)])
    assert Az(Say()).find("group", "show") is None


@pytest.mark.parametrize("error", [LOST, "ERROR: Bad Gateway(<html>)"])
def test_passing_faults_are_tried_again(fake: FakeAz, error: str) -> None:
    fake.prepare([fails(error), fails(error), prints({"id": 1})])
    assert Az(Say()).json("account", "show") == {"id": 1}
    assert len(fake.calls()) == 3


def test_faults_that_stay_end_it(fake: FakeAz) -> None:
    fake.prepare([fails(LOST)])
    with pytest.raises(AzError, match="check the network"):
        Az(Say()).json("account", "show")
    assert len(fake.calls()) == 4


def test_what_azure_goes_on_changing_is_waited_for_and_given_up_in_the_end(
    fake: FakeAz,
) -> None:
    fake.prepare([*[fails(REST)] * 8, prints({"id": 1})])
    assert Az(Say()).change("container", "create") == {"id": 1}
    fake.prepare([fails(REST)])
    with pytest.raises(AzError, match="still busy with an earlier change"):
        Az(Say()).change("container", "create", patience=0)


def test_a_refusal_is_not_tried_again(fake: FakeAz) -> None:
    fake.prepare([fails("ERROR: (AuthorizationFailed) no right")])
    with pytest.raises(AzError, match="role is missing"):
        Az(Say()).json("account", "show")
    assert len(fake.calls()) == 1


def test_before_each_further_try_of_a_change_someone_may_object(fake: FakeAz) -> None:
    fake.prepare([fails(REST)])

    def object_to_it() -> None:
        raise EngineError("taken over", "none")

    with pytest.raises(EngineError, match="taken over"):
        Az(Say()).change("container", "create", before_retry=object_to_it)
    assert len(fake.calls()) == 1


def test_secrets_reach_neither_arguments_nor_the_environment_nor_messages(
    fake: FakeAz, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("API_KEYS", "planted")
    say = Say(verbose=True)
    say.hide(["planted"])
    fake.prepare([fails("ERROR: (BadRequest) the value planted is wrong")])
    with pytest.raises(AzError) as error:
        Az(say, without=["API_KEYS"]).change("container", "create", "-n", "x", stdin="planted")
    (call,) = fake.calls()
    assert "API_KEYS" not in call["environment"]
    assert "planted" not in " ".join(call["arguments"]) + str(error.value)
    assert "planted" not in capsys.readouterr().err


def test_a_dry_run_prints_changes_and_makes_none(
    fake: FakeAz, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.prepare([prints({})])
    assert Az(Say(), dry_run=True).change("group", "create", "--name", "a b") is None
    assert capsys.readouterr().out == "az group create --name 'a b'\n"
    assert fake.calls() == []


def test_what_does_not_answer_is_ended_with_its_children(fake: FakeAz) -> None:
    fake.prepare([{"seconds": 60}])
    with pytest.raises(AzError, match="no answer within 1 s") as error:
        Az(Say()).json("account", "show", limit=1)
    assert error.value.code == "TimedOut"
    assert len(fake.calls()) == 1


def test_an_old_az_is_refused(fake: FakeAz) -> None:
    fake.prepare([prints({"azure-cli": "2.59.0"})])
    with pytest.raises(EngineError, match=r"needs 2\.60\.0 or newer"):
        Az(Say()).require_version()


def test_a_missing_az_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZ", "no-such-az")
    with pytest.raises(EngineError, match="no-such-az"):
        Az(Say()).json("version")


def record(phase: str = STARTED) -> Record:
    return Record(
        id="20261120000000-abcdef",
        service="a-service-name-that-is-rather-long-and-goes-on-on-on-production",
        started="2026-11-20T00:00:00Z",
        by="me",
        owner="run",
        process=None,
        phase=phase,
        previous=None,
        next={"image": "[not an expression]"},
    )


def test_records_come_back_as_they_were_written(fake: FakeAz) -> None:
    fake.prepare([prints({}), prints({"properties": {"provisioningState": "Succeeded"}})])
    journal = ArmJournal(Az(Say()), "s", environment("aci", name=record().service))
    journal.write(record(KEPT))
    put = fake.calls()[0]
    url = put["arguments"][put["arguments"].index("--url") + 1]
    assert len(url.partition("?")[0].rpartition("/")[2]) <= 64
    template = json.loads(put["stdin"])["properties"]["template"]
    output = template["outputs"]["record"]
    assert not output["value"].startswith("["), "ARM would take it for an expression"

    name = url.partition("?")[0].rpartition("/")[2]
    deployment = {"name": name, "properties": {"outputs": template["outputs"]}}
    foreign = {"name": "other", "properties": {"outputs": {"other": {"value": "1"}}}}
    pages = [{"value": [foreign, deployment], "nextLink": "https://x"}, {"value": [{}]}]
    fake.prepare([{}, {}, *(prints(page) for page in pages)])
    assert journal.records() == [record(KEPT)]


def test_the_first_signal_ends_what_may_be_interrupted() -> None:
    guard = Guard(Say())
    with guard.watching(), pytest.raises(Stopped), guard.interruptible():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)


def test_a_signal_waits_for_the_end_of_what_may_not_be_interrupted() -> None:
    guard, done = Guard(Say()), False
    with guard.watching():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        done = True
        with pytest.raises(Stopped), guard.interruptible():
            raise AssertionError("it goes on")
    assert done


def test_the_second_signal_ends_at_once() -> None:
    child = os.fork()
    if child == 0:
        with contextlib.redirect_stderr(open(os.devnull, "w")):
            guard = Guard(Say())
            with guard.watching():
                threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(20)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGTERM


def test_where_there_is_no_standard_input_by_name_a_private_file_is_used_and_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("engine.deploy.targets.aci.target._STDIN", "/no/such/path")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(EngineError), file_for("planted") as (name, stdin):
        path = Path(name)
        assert (path.read_text(), stdin) == ("planted", None)
        assert path.stat().st_mode & 0o077 == 0 or os.name == "nt"
        raise EngineError("refused", "none")
    assert list(tmp_path.iterdir()) == []


BUSY = "The container group 'x' is still transitioning, please retry later."
CONFLICTS = {
    ("ContainerGroupTransitioning", 409, BUSY): True,
    ("Conflict", 409, "Another operation is in progress on this resource."): True,
    ("ConflictingOperation", None, "The resource is being deleted. Try again later."): True,
    ("ServiceUnavailable", 409, "not available; Please retry with a different request"): False,
    ("InvalidResourceLocation", 409, "already exists in location 'westeurope'"): False,
    ("ContainerAppOperationInProgress", 409, "An operation is in progress."): False,
    ("InvalidContainerGroupUpdate", 400, "is being updated"): False,
}


@pytest.mark.parametrize(("problem", "waits"), CONFLICTS.items())
def test_a_conflict_that_ends_by_itself_is_told_from_a_refusal(
    problem: tuple[str, int | None, str], *, waits: bool
) -> None:
    assert AzError(Problem(*problem), "az x").transitioning is waits


def test_only_what_azure_will_never_do_is_a_refusal() -> None:
    refused = {code for code in range(400, 600) if AzError(Problem("c", code, "m"), "a").refused}
    assert {400, 403, 405, 422} <= refused
    assert refused.isdisjoint({401, 404, 408, 409, 429, *range(500, 600)})
    assert not AzError(Problem("c", None, "m"), "a").refused


class JobLogin:
    """`az` in a job whose login has ended: it answers again after another one."""

    def __init__(self, renewals: int, together: int) -> None:
        self.renewals = renewals
        self.together = threading.Barrier(together)
        self.logins: list[tuple[Sequence[str], str | None]] = []

    def finish(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        stdin: str | None,
        limit: float,
    ) -> Finished:
        if command[1] == "login":
            self.logins.append((command, stdin))
        if command[1] in ("account", "login"):
            account = {"id": "S", "tenantId": "T", "user": {"name": "client"}}
            return Finished(0, json.dumps(account), "")
        if len(self.logins) < self.renewals:
            self.together.wait(timeout=10)
            return Finished(1, "", EXPIRED)
        return Finished(0, '{"id": 1}', "")


def job_login(
    monkeypatch: pytest.MonkeyPatch, token: str | None, renewals: int = 1, together: int = 1
) -> JobLogin:
    made = JobLogin(renewals, together)
    monkeypatch.setattr(az_module, "finish", made.finish)
    monkeypatch.setattr(az_module, "_program", lambda: "az")
    monkeypatch.setattr(az_module, "job_token", lambda: token)
    return made


def test_commands_whose_login_has_ended_share_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = job_login(monkeypatch, "planted", together=4)
    say, proofs = Say(), []
    az = Az(say)
    looks = [lambda: az.change("x", before_retry=lambda: proofs.append("claim"))] * 4
    assert at_once(*looks) == [{"id": 1}] * 4
    [(command, stdin)] = fake.logins
    assert command[1:] == [
        *("login", "--service-principal", "--username", "client", "--tenant", "T"),
        *("--federated-token", "@-", "--output", "none"),
    ]
    assert stdin == "planted"
    assert proofs
    assert say.redact("planted") == "***"


@pytest.mark.parametrize(("token", "renewals", "logins"), [(None, 1, 0), ("planted", 9, 1)])
def test_a_login_is_repeated_once_and_only_in_a_job(
    monkeypatch: pytest.MonkeyPatch, token: str | None, renewals: int, logins: int
) -> None:
    fake = job_login(monkeypatch, token, renewals)
    with pytest.raises(NotLoggedIn, match="AADSTS700024"):
        Az(Say()).json("x")
    assert len(fake.logins) == logins
