"""The Azure double's container registries: a real registry, opened only by roles."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.azure_double.client import AzureDouble, Person

from . import double_image
from .commands import CommandError, run
from .double_world import REGION, REGISTRY, REPOSITORY, World

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]
HERE = ("--name", REGISTRY)
DENIED = "unauthorized|denied|authentication required"


@pytest.fixture(scope="module")
def world(azure_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One double for all tests here, with the image pushed as probe:1."""
    with AzureDouble(tmp_path_factory.mktemp("double")) as double:
        yield World(double)


@pytest.fixture(scope="module")
def owner(world: World) -> dict[str, str]:
    """An environment in which az and docker are logged in as the owner."""
    return logged_in(world, world.owner)


def logged_in(world: World, person: Person, registry: str = REGISTRY) -> dict[str, str]:
    """An environment in which az and docker are logged in as somebody."""
    environment = world.double.env(person)
    run(environment, "az", "acr", "login", "--name", registry)
    return environment


def somebody(world: World, name: str, *roles: str) -> dict[str, str]:
    """The environment of somebody with these roles on the registry."""
    person = world.double.principal(name, *((role, world.registry) for role in roles))
    return logged_in(world, person)


def push(environment: dict[str, str], name: str) -> None:
    """Push the test image under a name."""
    run(environment, "docker", "tag", double_image.built(), name)
    try:
        run(environment, "docker", "push", name)
    finally:
        run(environment, "docker", "rmi", name)


def tags(environment: dict[str, str]) -> list[str]:
    """The tags of the world's repository."""
    command = ("az", "acr", "repository", "show-tags", *HERE, "--repository", REPOSITORY)
    listed: list[str] = json.loads(run(environment, *command))
    return listed


def data_plane(world: World, path: str, authorization: str) -> tuple[int, str]:
    """A request to the login server: status and challenge."""
    trust = ssl.create_default_context(cafile=world.double.network()["SSL_CERT_FILE"])
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
    )
    headers = {"Authorization": authorization} if authorization else {}
    request = urllib.request.Request(f"https://{world.server}{path}", headers=headers)
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers.get("www-authenticate", "")


def test_registries_have_no_admin_user_and_names_are_unique(
    world: World, owner: dict[str, str]
) -> None:
    shown = json.loads(run(owner, "az", "acr", "show", *HERE))
    assert shown["adminUserEnabled"] is False
    assert shown["loginServer"] == world.server
    assert shown["roleAssignmentMode"] == "LegacyRegistryPermissions"
    for value in ("true", "false"):
        changed = run(owner, "az", "acr", "update", *HERE, "--admin-enabled", value)
        assert json.loads(changed)["adminUserEnabled"] is (value == "true")
    taken = json.loads(run(owner, "az", "acr", "check-name", *HERE))
    assert (taken["nameAvailable"], taken["reason"]) == (False, "AlreadyExists")

    basic = {"location": REGION, "sku": {"name": "Basic"}}
    kind = "Microsoft.ContainerRegistry/registries"
    private = {**basic, "properties": {"publicNetworkAccess": "Disabled"}}
    assert world.call("PUT", world.provider(kind, "private"), private)[0] == 501
    assert world.call("PUT", world.provider(kind, "a-b"), basic)[0] == 400
    elsewhere = f"{world.double.subscription_id}/resourceGroups/other"
    world.put("/resourcegroups/other", {"location": REGION}, version="2024-11-01")
    again = f"{elsewhere}/providers/{kind}/{REGISTRY}"
    assert world.call("PUT", again, basic)[0] == 409


def test_the_owner_pushes_lists_untags_and_deletes(world: World, owner: dict[str, str]) -> None:
    push(owner, f"{world.server}/{REPOSITORY}:story")
    assert json.loads(run(owner, "az", "acr", "repository", "list", *HERE)) == [REPOSITORY]
    assert tags(owner) == ["1", "story"]
    registry = ("--registry", REGISTRY)
    listing = ("az", "acr", "manifest", "list-metadata", *registry, "--name", REPOSITORY)
    (manifest,) = json.loads(run(owner, *listing))
    assert manifest["tags"] == ["1", "story"]
    assert manifest["imageSize"] > 10**6
    assert manifest["digest"] == world.image.partition("@")[2]

    untag = ("az", "acr", "repository", "untag", *HERE, "--image", f"{REPOSITORY}:story")
    run(owner, *untag)
    assert tags(owner) == ["1"]
    image = (*registry, "--name", f"{REPOSITORY}:1")
    shown = json.loads(run(owner, "az", "acr", "manifest", "show", *image))
    assert shown["config"]["digest"].startswith("sha256:")
    run(owner, "az", "acr", "manifest", "delete", *image, "--yes")
    assert json.loads(run(owner, "az", "acr", "repository", "list", *HERE)) == []
    world.push()


def test_acr_push_pushes_and_pulls_and_does_not_delete(world: World) -> None:
    builder = somebody(world, "builder", "AcrPush", "Reader")
    push(builder, f"{world.server}/{REPOSITORY}:built")
    run(builder, "docker", "pull", "--quiet", world.image)
    delete = ("az", "acr", "repository", "delete", *HERE, "--yes")
    with pytest.raises(CommandError, match=DENIED):
        run(builder, *delete, "--image", f"{REPOSITORY}:built")


def test_acr_pull_pulls_and_does_not_push(world: World) -> None:
    reader = somebody(world, "reader", "AcrPull", "Reader")
    run(reader, "docker", "pull", "--quiet", world.image)
    with pytest.raises(CommandError, match=DENIED):
        push(reader, f"{world.server}/{REPOSITORY}:forbidden")


def test_without_a_role_for_images_nothing_opens(world: World) -> None:
    # Reader may pull; this role may only look at the registry itself.
    role = {"actions": ["Microsoft.ContainerRegistry/registries/read"]}
    name = "d0000000-0000-4000-8000-000000000001"
    definition = f"{world.double.subscription_id}/providers/Microsoft.Authorization"
    properties = {"roleName": "Onlooker", "type": "CustomRole", "permissions": [role]}
    properties["assignableScopes"] = [world.double.subscription_id]
    path = f"{definition}/roleDefinitions/{name}"
    world.put(path, {"properties": properties}, version="2022-04-01")
    onlooker = somebody(world, "onlooker", "Onlooker")
    with pytest.raises(CommandError, match=DENIED):
        run(onlooker, "docker", "pull", f"{world.server}/{REPOSITORY}:1")


def test_acr_delete_with_acr_pull_deletes_and_does_not_push(
    world: World, owner: dict[str, str]
) -> None:
    push(owner, f"{world.server}/{REPOSITORY}:old")
    pruner = somebody(world, "pruner", "AcrDelete", "AcrPull", "Reader")
    run(pruner, "az", "acr", "repository", "untag", *HERE, "--image", f"{REPOSITORY}:old")
    assert "old" not in tags(owner)
    with pytest.raises(CommandError, match=DENIED):
        push(pruner, f"{world.server}/{REPOSITORY}:new")


def test_an_abac_registry_honours_only_its_own_roles(world: World) -> None:
    name = "abacregistry"
    registry = world.provider("Microsoft.ContainerRegistry/registries", name)
    mode = {"roleAssignmentMode": "AbacRepositoryPermissions"}
    body = {"location": REGION, "sku": {"name": "Basic"}, "properties": mode}
    image = f"{world.put(registry, body)['properties']['loginServer']}/probe:1"

    classic = world.double.principal("classic", ("AcrPush", registry), ("Reader", registry))
    with pytest.raises(CommandError, match=DENIED):
        push(logged_in(world, classic, name), image)
    writer = "Container Registry Repository Writer"
    modern = world.double.principal("modern", (writer, registry), ("Reader", registry))
    push(logged_in(world, modern, name), image)


def test_the_registry_asks_for_a_token_and_takes_no_other(world: World) -> None:
    realm = f'Bearer realm="https://{world.server}/oauth2/token",service="{world.server}"'
    assert data_plane(world, "/v2/", "") == (401, realm)
    entra = f"Bearer {world.token(world.owner)}"
    assert data_plane(world, "/v2/", entra)[0] == 401
    assert data_plane(world, f"/v2/{REPOSITORY}/tags/list", entra)[0] == 401
    login = base64.b64encode(b"00000000-0000-0000-0000-000000000000:made-up").decode()
    token = f"/oauth2/token?service={world.server}&scope=repository:{REPOSITORY}:pull"
    assert data_plane(world, token, f"Basic {login}")[0] == 401
    assert data_plane(world, "/acr/v1/_unknown", entra)[0] == 501


def test_a_deleted_registry_takes_its_images_away(world: World, owner: dict[str, str]) -> None:
    name = "shortlived"
    registry = world.provider("Microsoft.ContainerRegistry/registries", name)
    made = world.put(registry, {"location": REGION, "sku": {"name": "Basic"}})
    image = f"{made['properties']['loginServer']}/probe:1"
    run(owner, "az", "acr", "login", "--name", name)
    run(owner, "docker", "tag", double_image.built(), image)
    run(owner, "docker", "push", image)
    run(owner, "az", "acr", "delete", "--name", name, "--yes")
    assert not run(owner, "docker", "images", "--quiet", image)
    assert not (world.double.folder / "registries" / name).exists()
