"""File shares that a service mounts: rules, documents of both places, the key, bootstrap."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from engine.deploy.az import Az
from engine.deploy.bootstrap.plan import plan
from engine.deploy.bootstrap.roles import own_roles
from engine.deploy.config import names
from engine.deploy.config.volumes import MOST, Volume, broken
from engine.deploy.diagnosis.shares import MOUNT_FAILED, refused
from engine.deploy.rollout.run import roll_out
from engine.deploy.rollout.site import RolloutFailed
from engine.deploy.say import Say
from engine.deploy.targets.aci.document import render, secret_names, with_secrets
from engine.deploy.targets.aci.shape import blockers, differences, restorable, unrestorable
from engine.deploy.targets.base import STORAGE_KEY
from engine.deploy.targets.containerapps import request as requests
from engine.deploy.targets.containerapps import shape
from engine.deploy.targets.containerapps.client import AppClient
from engine.deploy.targets.containerapps.target import ContainerApps
from engine.deploy.targets.kind import kind_of
from engine.errors import EngineError
from pydantic import ValidationError

from tests.engine import bootstrap_world
from tests.engine import test_containerapps_document as apps
from tests.engine.arm_memory import (
    BEFORE,
    CRASHES,
    GOOD,
    Deploys,
    Habits,
    installed,
    is_complete,
    release,
)
from tests.engine.evidence import arm_group, event, seen
from tests.engine.fleet_memory import arm_of
from tests.engine.test_aci_document import PLACES, RELEASE, environment
from tests.engine.test_https import HTTPS

VOLUMES = [{"share": "models", "path": "/models"}, {"share": "tables-2", "path": "/data/tables"}]
SHARES = ("models", "tables-2")
ACCOUNT = names.storage_account("S", "iris-service-staging")


@pytest.mark.parametrize(
    ("volumes", "at"),
    [
        ([("models", "/models"), ("models", "/other")], (1, "share")),
        ([("certificates", "/models")], (0, "share")),
        ([("models", "/service/models")], (0, "path")),
        ([("models", "/tmp")], (0, "path")),
        ([("models", "/models/../etc")], (0, "path")),
        ([("models", "/a"), ("tables", "/a")], (1, "path")),
        ([("models", "/a"), ("tables", "/a/b")], (1, "path")),
        ([("models", "/a/b"), ("tables", "/a")], (1, "path")),
        ([(f"share-{n}", f"/a{n}") for n in range(MOST + 1)], ()),
    ],
)
def test_a_share_hides_nothing_of_the_image_and_no_other_share(
    volumes: list[tuple[str, str]], at: tuple[int | str, ...]
) -> None:
    given = tuple(Volume(share=share, path=path) for share, path in volumes)
    assert [each.at for each in broken(given)] == [("volumes", *at)]


@pytest.mark.parametrize(
    ("share", "path"),
    [
        *[("Models", "/m"), ("m", "/m"), ("a--b", "/m"), ("models", "m"), ("models", "/a:b")],
        *[("models", "/"), ("models", "/m/"), ("models", "//m"), ("models", "/a b")],
    ],
)
def test_names_and_paths_that_azure_refuses_are_refused(share: str, path: str) -> None:
    with pytest.raises(ValidationError):
        Volume(share=share, path=path)


def test_a_group_mounts_its_shares_read_only_beside_the_certificates() -> None:
    places = replace(PLACES, edge=RELEASE.image)
    sent = render(environment(volumes=VOLUMES, https=HTTPS), RELEASE, places, {})
    service = sent["properties"]["containers"][0]["properties"]
    assert service["volumeMounts"] == [
        {"name": "models", "mountPath": "/models", "readOnly": True},
        {"name": "tables-2", "mountPath": "/data/tables", "readOnly": True},
    ]
    files = {each["name"]: each["azureFile"] for each in sent["properties"]["volumes"]}
    assert files["models"] == {
        "shareName": "models",
        "readOnly": True,
        "storageAccountName": ACCOUNT,
        "storageAccountKey": None,
    }
    assert "readOnly" not in files["certificates"]
    assert STORAGE_KEY in secret_names(sent)
    filled = with_secrets(sent, {name: f"planted {name}" for name in secret_names(sent)})
    assert json.dumps(filled).count(f"planted {STORAGE_KEY}") == 3


def test_another_share_is_another_group_and_what_azure_answers_is_no_difference() -> None:
    sent = render(environment(volumes=VOLUMES), RELEASE, PLACES, {})
    live = copy.deepcopy(restorable(sent))
    for each in live["properties"]["volumes"]:
        del each["azureFile"]["storageAccountKey"]  # Azure shows none
    assert differences(live, sent) == ()
    assert unrestorable(live, PLACES.workspace, ACCOUNT) == ()
    fewer = render(environment(volumes=VOLUMES[:1]), RELEASE, PLACES, {})
    assert blockers(live, fewer)


def app(**changes: Any) -> dict[str, Any]:
    return apps.render(volumes=VOLUMES, **changes)


def test_a_revision_mounts_them_by_the_storages_of_its_environment() -> None:
    template = app()["properties"]["template"]
    assert template["volumes"] == [
        {"name": "models", "storageName": "models", "storageType": "AzureFile"},
        {"name": "tables-2", "storageName": "tables-2", "storageType": "AzureFile"},
    ]
    assert template["containers"][0]["volumeMounts"] == [
        {"volumeName": "models", "mountPath": "/models"},
        {"volumeName": "tables-2", "mountPath": "/data/tables"},
    ]
    plain = apps.render()["properties"]["template"]
    assert "volumes" not in plain
    assert "volumeMounts" not in plain["containers"][0]


def test_shares_of_a_live_app_are_read_back_and_their_change_is_a_new_revision() -> None:
    document = app()
    body = requests.new_app(document, apps.REVISION, apps.SECRETS)
    shown = apps.answer(body)
    shown["properties"]["template"]["volumes"][0]["mountOptions"] = None
    shown["properties"]["template"]["containers"][0]["volumeMounts"][0]["subPath"] = ""
    live = shape.document_of(shown, apps.REVISION, shown["properties"]["template"])
    assert shape.differences(live, document) == ()
    assert shape.same_template(live, document)
    assert not shape.same_template(live, apps.render())
    shown["properties"]["template"]["volumes"] = None  # as Azure says that there are none
    for each in shown["properties"]["template"]["containers"]:
        each["volumeMounts"] = None
    plain = shape.document_of(shown, apps.REVISION, shown["properties"]["template"])
    assert shape.same_template(plain, apps.render())


class NoApp(Az):
    """Has no app yet; keeps what is changed."""

    def __init__(self) -> None:
        super().__init__(Say())
        self.sent: list[tuple[str, Any]] = []
        self.known: set[str] = set()

    def find(self, *arguments: str, limit: float = 0) -> Any:
        url = arguments[arguments.index("--url") + 1].partition("?")[0]
        return {"name": url} if url in self.known else None

    def change(self, *arguments: str, stdin: str | None = None, **_: Any) -> Any:
        url = arguments[arguments.index("--url") + 1].partition("?")[0]
        assert "planted" not in " ".join(arguments)
        self.sent.append((url, json.loads(stdin or "{}")))


def test_the_key_reaches_the_environment_before_the_app_names_the_share() -> None:
    az, given = NoApp(), apps.environment(volumes=VOLUMES)
    client = AppClient(az, "s", given.resource_group, given.name)
    target = ContainerApps(az, given, apps.PLACES, client)
    document = target.document(apps.RELEASE, apps.TAGS)
    assert target.secret_names(document) == ("API_KEYS", STORAGE_KEY)
    with pytest.raises(EngineError, match="cannot be read"):
        target.apply(document, apps.SECRETS, lambda: None)
    assert az.sent == []
    # What was mounted before needs no key: a release is put back although nobody can read it now.
    az.known = {f"{apps.PLACES.apps_environment}/storages/{share}" for share in SHARES}
    target.restore(document, apps.SECRETS, lambda: None)
    assert [url.rpartition("/")[2] for url, _ in az.sent] == ["iris-staging"]
    az.sent.clear()
    target.apply(document, {**apps.SECRETS, STORAGE_KEY: "planted-key"}, lambda: None)
    urls = [url.removeprefix(str(apps.PLACES.apps_environment)) for url, _ in az.sent]
    assert urls[:2] == ["/storages/models", "/storages/tables-2"]
    assert urls[2].endswith("/containerApps/iris-staging")
    assert az.sent[0][1]["properties"]["azureFile"] == {
        "accountName": names.storage_account("s", "iris-staging"),
        "accountKey": "planted-key",
        "shareName": "models",
        "accessMode": "ReadOnly",
    }
    assert "planted-key" not in json.dumps(az.sent[2])


@pytest.mark.parametrize("target", ["aci", "containerapps"])
def test_bootstrap_makes_the_shares_and_gives_the_key_to_nobody_else(target: str) -> None:
    size: dict[str, Any] = {"target": target, "cpu": 1.0, "memory_gb": 2.0}

    def steps(**fields: Any) -> dict[str, Any]:
        return {each.key: each for each in plan(bootstrap_world.inputs(**size, **fields))}

    more = steps(volumes=VOLUMES).keys() - steps().keys()
    shares = {"storage staging", "share staging/models", "share staging/tables-2"}
    assert {*shares, "role certificates"} <= more
    made = steps(volumes=VOLUMES)["share staging/models"]
    assert made.make[0].arguments[:3] == ("storage", "share-rm", "create")
    assert len({role.key for role in own_roles()}) == len(own_roles())
    given = bootstrap_world.inputs(**size, volumes=VOLUMES).environments["staging"]
    assert kind_of(given).mounts(given)
    assert "Microsoft.Storage" in kind_of(given).providers(given)


@pytest.mark.parametrize("name", [MOUNT_FAILED, "FailedMount"])
def test_a_share_that_azure_cannot_mount_is_found(name: str) -> None:
    broken = arm_group(events=[event(name, "no permission")])
    (found,) = refused(seen(group=broken))
    assert found.code == "file-share"
    assert "bootstrap" in found.fix
    assert list(refused(seen())) == []


@pytest.mark.parametrize("updates", [True, False])
@pytest.mark.parametrize("digit", [GOOD, CRASHES])
@pytest.mark.parametrize("kind", ["aci", "fleet"])
def test_the_promise_holds_whether_azure_updates_a_group_with_a_share_or_refuses(
    monkeypatch: pytest.MonkeyPatch, kind: str, digit: str, *, updates: bool
) -> None:
    """A page of 2022 says that such an update might not work; no page says so now. Beside the old
    groups nothing is updated, so a release is possible in any case.
    """
    deploys = Deploys(arm_of(kind, Habits(updates_shares=updates)), kind)
    installed(monkeypatch, deploys.arm)
    site = deploys.site(volumes=VOLUMES[:1])
    roll_out(site, site.target.document(release(BEFORE), {}))
    deploys.arm.clock.seconds += 1000
    site = deploys.site(volumes=VOLUMES[:1])
    document = site.target.document(release(digit), {})
    if digit == GOOD and (updates or kind == "fleet"):
        roll_out(site, document)
        assert is_complete(deploys.arm, GOOD)
    else:
        with pytest.raises(RolloutFailed) as failed:
            roll_out(site, document)
        assert failed.value.restored
        assert is_complete(deploys.arm, BEFORE)
    assert deploys.arm.violations == []
