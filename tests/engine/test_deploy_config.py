"""The deploy configuration: every rule has an example that breaks it, and all are reported."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from engine.deploy.config import names
from engine.deploy.config.advice import warnings
from engine.deploy.config.environment import Environment
from engine.deploy.config.project import Project
from engine.deploy.config.read import environment_names, read_environment, read_project
from engine.deploy.config.rules.settings import setting_faults
from engine.deploy.targets.aci.environment import GroupEnvironment
from engine.deploy.targets.containerapps.bootstrap import apps_environment
from engine.deploy.targets.containerapps.environment import AppEnvironment
from engine.deploy.targets.kind import environment_model
from engine.errors import ConfigError, EngineError, Fault

from tests.engine.project import ROOT

PROJECT: dict[str, object] = {
    "name": "iris-service",
    "title": "Iris Service",
    "owner": "octo-org",
    "accelerator": "cpu",
    "region": "westeurope",
    "registry": "irisservice",
    "shared_resource_group": "iris-service-shared",
}
STAGING: dict[str, object] = {
    "target": "aci",
    "region": "westeurope",
    "resource_group": "iris-service-staging",
    "name": "iris-service-staging",
}
APPS: dict[str, object] = {**STAGING, "target": "containerapps", "cpu": 1, "memory_gb": 2}
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write both files, each given as text or as what differs from a sound one."""

    def write(
        environment: str | dict[str, object] | None = None,
        project: str | dict[str, object] | None = None,
        base: dict[str, object] = STAGING,
    ) -> Path:
        folder = tmp_path / "deploy"
        (folder / "environments").mkdir(parents=True, exist_ok=True)
        for file, sound, given in (
            (folder / "project.yaml", PROJECT, project),
            (folder / "environments" / "staging.yaml", base, environment),
        ):
            text = given if isinstance(given, str) else yaml.safe_dump({**sound, **(given or {})})
            file.write_text(text, encoding="utf-8")
        lock.parent.mkdir(exist_ok=True)
        lock.touch()
        return tmp_path

    lock = tmp_path / "requirements" / "serve-gpu.txt"
    return write


def faults(root: Path) -> tuple[Fault, ...]:
    with pytest.raises(ConfigError) as caught:
        read_environment("staging", root)
    return caught.value.faults


def only_fault(root: Path) -> Fault:
    (fault,) = faults(root)
    return fault


def staging_with(**fields: object) -> Environment:
    content = {"stage": "staging", **STAGING, **fields}
    return environment_model(content).model_validate(content)


def advice(**fields: object) -> str:
    return "\n".join(warnings(Project.model_validate(PROJECT), staging_with(**fields)))


# The repository's own files


def own_environments() -> dict[str, Environment | ConfigError]:
    found: dict[str, Environment | ConfigError] = {}
    for stage in environment_names(ROOT):
        try:
            found[stage] = read_environment(stage, ROOT)[1]
        except ConfigError as error:
            found[stage] = error
    return found


def test_the_files_of_this_repository_are_sound_but_for_a_retired_gpu() -> None:
    own = own_environments()
    assert list(own)[-1] == "production"
    for found in own.values():
        if isinstance(found, ConfigError):
            (fault,) = found.faults
            assert fault.field == "gpu"
            assert "retired them on 2025-07-14" in fault.rule


def test_every_field_of_the_written_files_has_its_own_comment_or_group() -> None:
    for stage in environment_names(ROOT):
        text = (ROOT / f"deploy/environments/{stage}.yaml").read_text(encoding="utf-8")
        content = yaml.safe_load(text)
        assert set(content) <= set(environment_model(content).model_fields)
        assert text.count("#") >= 12


# What is read


def test_a_minimal_file_gets_good_defaults(write: Write) -> None:
    project, environment = read_environment("staging", write())
    assert isinstance(environment, GroupEnvironment)
    assert (project.name, project.accelerator) == ("iris-service", "cpu")
    assert (environment.stage, environment.cpu, environment.memory_gb) == ("staging", 1, 1.5)
    assert (environment.port, environment.dns_label) == (8000, "iris-service-staging")
    assert environment.probes.liveness.path == "/healthz"
    assert environment.probes.readiness.path == "/readyz"
    assert environment.rollout.lease_seconds == 45


def test_a_whole_file_is_read(write: Write) -> None:
    given = {
        "cpu": 2,
        "memory_gb": 3.5,
        "port": 8080,
        "dns": {"label": "iris-demo", "reuse": "TenantReuse"},
        "variables": {"LOG_LEVEL": "debug", "MY_FLAG": "true"},
        "secrets": ["API_KEYS"],
        "probes": {"liveness": {"period_seconds": 30}, "readiness": {"path": "/v2/health/ready"}},
        "restart_policy": "OnFailure",
        "tags": {"cost-center": "1234"},
        "rollout": {"start_seconds": 900, "burst": {"requests": 0, "p95_ms": 80}},
    }
    _, environment = read_environment("staging", write(given))
    assert isinstance(environment, GroupEnvironment)
    assert environment.secrets == ("API_KEYS",)
    assert environment.dns_label == "iris-demo"
    assert environment.probes.liveness.period_seconds == 30
    assert environment.probes.liveness.path == "/healthz"
    assert environment.rollout.burst.p95_ms == 80


def test_a_container_app_is_read(write: Write) -> None:
    given = {"gpu": "t4", "cpu": 8, "memory_gb": 56, "replicas": {"min": 0, "max": 3}}
    root = write(given, {"accelerator": "gpu"}, APPS)
    environment = read_environment("staging", root)[1]
    assert isinstance(environment, AppEnvironment)
    assert environment.replicas.max == 3


def test_an_environment_cannot_be_changed_after_reading(write: Write) -> None:
    _, environment = read_environment("staging", write())
    with pytest.raises(ValueError, match="frozen"):
        environment.cpu = 2  # type: ignore[misc]


def test_the_names_in_azure_follow_from_the_project() -> None:
    project = Project.model_validate(PROJECT)
    assert names.runtime_identity(project) == "iris-service-runtime"
    assert names.deploy_identity(project, "staging") == "iris-service-deploy-staging"
    assert apps_environment(project, "staging") == "iris-service-staging-apps"
    longest = Project.model_validate({**PROJECT, "name": "x" * 40})
    assert len(apps_environment(longest, "production")) <= 60
    assert len(names.workspace(longest)) <= 63


def test_a_project_alone_is_read_and_refused(write: Write) -> None:
    assert read_project(write()).registry == "irisservice"
    with pytest.raises(ConfigError, match="registry"):
        read_project(write(project={"registry": "Iris-Service"}))


def test_an_unknown_environment_is_answered_with_the_known_ones(write: Write) -> None:
    with pytest.raises(EngineError, match="name one of: staging"):
        read_environment("stagging", write())


# All faults at once


def test_faults_of_both_files_come_together_each_with_its_line(write: Write) -> None:
    environment = (
        "target: aci\nregion: West Europe\nresource_group: iris-service-staging\n"
        'name: iris-service-staging\ncpu: "2"\nport: 22\nvariables:\n  DEBUG: yes\n  PORT: "1"\n'
    )
    found = faults(write(environment, {"registry": "Iris", "owner": "@octo"}))
    places = [(fault.file.rsplit("/", 1)[-1], fault.field) for fault in found]
    assert places == [
        ("project.yaml:3", "owner"),
        ("project.yaml:5", "registry"),
        ("staging.yaml:2", "region"),
        ("staging.yaml:5", "cpu"),
        ("staging.yaml:8", "variables.DEBUG"),
        ("staging.yaml:6", "port"),
        ("staging.yaml:9", "variables.PORT"),
    ]
    assert all(fault.rule and fault.fix for fault in found)


def test_a_faulty_field_is_no_ground_for_judging_others(write: Write) -> None:
    given = {"target": "container-apps", "gpu": "t4", "cpu": 8, "memory_gb": 56}
    fault = only_fault(write(given, {"accelerator": "gpu"}))
    assert (fault.field, fault.fix) == ("target", "write containerapps")


def test_a_broken_file_does_not_hide_the_faults_of_the_other(write: Write) -> None:
    found = faults(write({"cpu": 64}, project="name: [unclosed"))
    assert [fault.field for fault in found] == ["the file", "cpu"]
    assert "line 1" in found[0].rule


def test_the_message_names_file_line_field_value_rule_and_way_out(write: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        read_environment("staging", write({"port": 3390}))
    assert re.search(
        r"deploy/environments/staging\.yaml:\d+: port is 3390: Azure Container Instances reserves "
        r"this port; take 8000",
        str(caught.value),
    )


@pytest.mark.parametrize("file", ["project.yaml", "environments/staging.yaml"])
@pytest.mark.parametrize(
    "text", ["", "- a\n- list\n", "just text", "a: b: c", "a: !!python/none x"]
)
def test_a_file_that_is_no_mapping_is_one_fault(file: str, text: str, write: Write) -> None:
    root = write()
    (root / "deploy" / file).write_text(text, encoding="utf-8")
    assert only_fault(root).field == "the file"


def test_a_file_in_another_encoding_is_one_fault(write: Write) -> None:
    root = write()
    (root / "deploy/project.yaml").write_bytes("title: Über".encode("latin-1"))
    assert "UTF-8" in only_fault(root).rule


def test_a_missing_project_file_is_one_fault(write: Write) -> None:
    root = write()
    (root / "deploy/project.yaml").unlink()
    assert only_fault(root).rule == "must exist"


# Traps of YAML


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("yes", "a boolean"),
        ("off", "a boolean"),
        ("True", "a boolean"),
        ("007", "a number"),
        ("1.10", "a number"),
        ("1e3", "text"),
        ("2026-11-20", "a date"),
        ("~", "nothing at all"),
        ("", "nothing at all"),
    ],
)
def test_an_unquoted_value_is_shown_as_written_with_the_advice_to_quote_it(
    written: str, read_as: str, write: Write
) -> None:
    root = write(yaml.safe_dump(STAGING) + f"variables:\n  MY_FLAG: {written}\n")
    if read_as == "text":
        assert read_environment("staging", root)[1].variables["MY_FLAG"] == written
        return
    fault = only_fault(root)
    assert fault.field == "variables.MY_FLAG"
    assert read_as in fault.rule
    assert fault.fix == f'quote it: "{written or "..."}"'
    assert not written or repr(fault.value) == written


def test_an_unquoted_tag_and_secret_are_traps_too(write: Write) -> None:
    root = write(yaml.safe_dump(STAGING) + "tags: {team: 7}\nsecrets: [API_KEYS, 12]\n")
    assert {fault.field for fault in faults(root)} == {"tags.team", "secrets[1]"}
    assert all(fault.fix.startswith("quote it") for fault in faults(root))


def test_a_name_that_yaml_takes_for_a_boolean_stays_a_name(write: Write) -> None:
    root = write(yaml.safe_dump(STAGING) + 'variables:\n  NO: "x"\n  1: "y"\n')
    assert dict(read_environment("staging", root)[1].variables) == {"NO": "x", "1": "y"}


def test_a_gpu_image_without_its_lock_is_named_before_it_is_built(write: Write) -> None:
    root = write(project={"accelerator": "gpu"}, environment={"cpu": 99})
    (root / "requirements" / "serve-gpu.txt").unlink()
    told = [str(each) for each in faults(root)]
    assert any(each.startswith("deploy/environments/staging.yaml") for each in told)
    (fault,) = [each for each in told if each.startswith("deploy/project.yaml")]
    assert "accelerator is gpu: needs requirements/serve-gpu.txt, which does not exist" in fault
    assert "write `-r ../engine/requirements/serve-gpu.in` into" in fault


def test_a_doubled_key_is_refused_instead_of_overwritten(write: Write) -> None:
    root = write(yaml.safe_dump(STAGING) + "cpu: 1\nvariables: {A: 'x', A: 'y'}\ncpu: 2\n")
    assert [fault.field for fault in faults(root)] == ["variables.A", "cpu"]


def test_an_anchor_that_holds_itself_does_not_hang(write: Write) -> None:
    assert faults(write(yaml.safe_dump(STAGING) + "variables: &a {A: *a}\n"))


# Unknown fields


@pytest.mark.parametrize(
    ("field", "answer"),
    [
        ("tag", "did you mean tags?"),
        ("varaibles", "did you mean variables?"),
        ("ports", "did you mean port?"),
        ("memory", "write memory_gb"),
        ("memoryInGB", "write memory_gb"),
        ("location", "write region"),
        ("image", "the image is the one that was built from the commit"),
        ("accelerator", "deploy/project.yaml"),
        ("stage", "the name of the file says it"),
        ("frobnicate", "there are target, region"),
    ],
)
def test_an_unknown_field_is_answered_with_the_right_one(
    field: str, answer: str, write: Write
) -> None:
    fault = only_fault(write({field: 1}))
    assert (fault.field, fault.rule) == (field, "there is no such field")
    assert answer in fault.fix


def test_an_unknown_field_inside_a_section_is_answered_too(write: Write) -> None:
    fault = only_fault(write({"probes": {"liveness": {"period": 5}}}))
    assert fault.field == "probes.liveness.period"
    assert fault.fix == "did you mean period_seconds?"


def test_fields_that_moved_say_where_to(write: Write) -> None:
    found = faults(write(project={"target": "aci", "gpu": "none", "environments": {}}))
    assert {fault.field for fault in found} == {"target", "gpu", "environments"}
    assert all("deploy/environments/" in fault.fix for fault in found)


# Every rule


@pytest.mark.parametrize("field", list(STAGING))
def test_a_required_field_is_missed(field: str, write: Write) -> None:
    text = yaml.safe_dump({key: value for key, value in STAGING.items() if key != field})
    fault = only_fault(write(text))
    assert (fault.field, repr(fault.value)) == (field, "missing")


BAD_PROJECT = [
    ("name", "iris"),
    ("name", "Iris-Service"),
    ("name", "x" * 41),
    ("name", "iris--service"),
    ("title", ""),
    ("title", "two\nlines"),
    ("owner", "octo org"),
    ("owner", "x" * 40),
    ("accelerator", "tpu"),
    ("registry", "iris-service"),
    ("registry", "iris"),
    ("registry", "x" * 51),
    ("region", "West Europe"),
    ("shared_resource_group", "ends-in-a-dot."),
    ("shared_resource_group", "x" * 91),
    ("name", 12345),
]


@pytest.mark.parametrize(("field", "value"), BAD_PROJECT)
def test_a_project_breaks_a_rule(field: str, value: object, write: Write) -> None:
    assert only_fault(write(project={field: value})).field == field


BAD_EVERYWHERE = [
    ("target", "kubernetes", "target"),
    ("region", "West Europe", "region"),
    ("resource_group", "ends-in-a-dot.", "resource_group"),
    ("name", "Iris", "name"),
    ("name", "iris--service", "name"),
    ("name", "-iris-service", "name"),
    ("name", "x" * 64, "name"),
    ("gpu", "h100", "gpu"),
    ("gpu_count", 5, "gpu_count"),
    ("gpu_count", 2, "gpu_count"),
    ("allow_retired_gpu", "yes please", "allow_retired_gpu"),
    ("cpu", "1", "cpu"),
    ("cpu", float("inf"), "cpu"),
    ("cpu", float("nan"), "cpu"),
    ("memory_gb", [1], "memory_gb"),
    ("port", 0, "port"),
    ("port", 65536, "port"),
    ("port", 80.5, "port"),
    ("replicas", 3, "replicas"),
    ("restart_policy", "always", "restart_policy"),
    ("dns", {"label": "iris"}, "dns.label"),
    ("dns", {"label": "2nd-iris"}, "dns.label"),
    ("dns", {"reuse": "noReuse"}, "dns.reuse"),
    ("variables", {"MY-VAR": "x"}, "variables.MY-VAR"),
    ("variables", {"_VAR": "x"}, "variables._VAR"),
    ("variables", {"X" * 64: "x"}, "variables." + "X" * 64),
    ("variables", {"EMPTY": ""}, "variables.EMPTY"),
    ("variables", {"HALF": "\ud83c"}, "variables.HALF"),
    ("variables", ["A=b"], "variables"),
    ("variables", {"PORT": "80"}, "variables.PORT"),
    ("variables", {"port": "80"}, "variables.port"),
    ("variables", {"HOST": "127.0.0.1"}, "variables.HOST"),
    ("variables", {"GIT_REVISION": "x"}, "variables.GIT_REVISION"),
    ("variables", {"WORKERS": "many"}, "variables.WORKERS"),
    ("variables", {"EXECUTION_PROVIDERS": "gpu"}, "variables.EXECUTION_PROVIDERS"),
    ("variables", {"MY_VAR": "x", "my_var": "y"}, "variables.my_var"),
    ("variables", {"API_KEYS": "x" * 16}, "variables.API_KEYS"),
    ("secrets", {"API_KEYS": "x"}, "secrets"),
    ("secrets", ["API-KEYS"], "secrets[0]"),
    ("secrets", ["API_KEYS", "API_KEYS"], "secrets[1]"),
    ("secrets", ["PORT"], "secrets[0]"),
    ("secrets", ["GITHUB_TOKEN"], "secrets[0]"),
    ("secrets", ["1ST_KEY"], "secrets[0]"),
    ("probes", {"liveness": {"path": "healthz"}}, "probes.liveness.path"),
    ("probes", {"readiness": {"period_seconds": 0}}, "probes.readiness.period_seconds"),
    ("probes", {"startup": {}}, "probes.startup"),
    ("tags", {"a/b": "x"}, "tags.a/b"),
    ("tags", {"x" * 513: "x"}, "tags." + "x" * 513),
    ("tags", {"long": "x" * 257}, "tags.long"),
    ("tags", {"Microsoft-x": "x"}, "tags.Microsoft-x"),
    ("tags", {"Rollout-Id": "x"}, "tags.Rollout-Id"),
    ("tags", {"git-revision": "x"}, "tags.git-revision"),
    ("tags", {"Team": "x", "team": "y"}, "tags.team"),
    ("tags", {f"tag{n}": "x" for n in range(43)}, "tags"),
    ("rollout", {"lease_seconds": 5}, "rollout.lease_seconds"),
    ("rollout", {"start_seconds": 1801}, "rollout.start_seconds"),
    ("rollout", {"burst": {"p95_ms": 0}}, "rollout.burst.p95_ms"),
    ("resource_group", "Iris-Service-Shared", "resource_group"),
    ("telemetry", "yes", "telemetry"),
    ("container_logs", 1, "container_logs"),
    ("secrets", ["APPLICATIONINSIGHTS_CONNECTION_STRING"], "secrets[0]"),
    ("alerts", {"email": ["Ann <ann@example.org>"]}, "alerts.email[0]"),
    ("alerts", {"email": ["ann@example"]}, "alerts.email[0]"),
    ("alerts", {"email": "ann@example.org"}, "alerts.email"),
    ("alerts", {"budget": -1}, "alerts.budget"),
    ("alerts", {"budget": "100 EUR"}, "alerts.budget"),
    ("alerts", {"every_minutes": 1}, "alerts.every_minutes"),
    ("alerts", {"outside_check_minutes": 7}, "alerts.outside_check_minutes"),
    ("alerts", {"phone": "112"}, "alerts.phone"),
]


@pytest.mark.parametrize(("field", "value", "reported"), BAD_EVERYWHERE)
def test_an_environment_breaks_a_rule(
    field: str, value: object, reported: str, write: Write
) -> None:
    fault = only_fault(write({field: value}))
    assert fault.field == reported
    assert fault.rule
    assert fault.fix


BAD_ON_ACI: list[tuple[dict[str, object], str, str]] = [
    ({"cpu": 0.5}, "cpu", "from 1 to 31"),
    ({"cpu": 32}, "cpu", "from 1 to 31"),
    ({"cpu": 1.25}, "cpu", "write 1.2"),
    ({"memory_gb": 0.5}, "memory_gb", "from 1 to 240"),
    ({"memory_gb": 241}, "memory_gb", "from 1 to 240"),
    ({"replicas": {"min": 0}}, "replicas", "containerapps"),
    ({"name": "iris"}, "name", "label"),
    ({"name": "i" * 55, "copies": 2}, "name", "at most 54 characters"),
    ({"dns": {"label": "i" * 55}, "switch": "beside"}, "dns.label", "at most 54 characters"),
    ({"tags": {"cost center": "7"}, "copies": 2}, "tags.cost center", "Traffic Manager"),
    ({"copies": 11}, "copies", "10"),
]
RESERVED = [22, 1025, 1027, 3389, 3399, 9999, 19000, 19080, 19100, 19390]
RESERVED += [20000, 30000, 49152, 65534]


@pytest.mark.parametrize(("given", "field", "says"), BAD_ON_ACI)
def test_container_instances_refuse(
    given: dict[str, object], field: str, says: str, write: Write
) -> None:
    fault = only_fault(write(given))
    assert fault.field == field
    assert says in f"{fault.rule}; {fault.fix}"


@pytest.mark.parametrize("port", RESERVED)
def test_ports_of_the_platform_are_refused(port: int, write: Write) -> None:
    fault = only_fault(write({"port": port}))
    assert (fault.field, fault.rule) == ("port", "Azure Container Instances reserves this port")


@pytest.mark.parametrize("port", [21, 80, 443, 1024, 1028, 8000, 19999, 30001, 49151, 65535])
def test_other_ports_are_free(port: int, write: Write) -> None:
    assert read_environment("staging", write({"port": port}))[1].port == port


BAD_ON_APPS: list[tuple[dict[str, object], str]] = [
    ({"copies": 2}, "copies"),
    ({"name": "x" * 33}, "name"),
    ({"name": "1iris"}, "name"),
    ({"cpu": 1.1, "memory_gb": 2.2}, "cpu"),
    ({"cpu": 4.25, "memory_gb": 8.5}, "cpu"),
    ({"memory_gb": 1.5}, "memory_gb"),
    ({"replicas": {"min": 3, "max": 2}}, "replicas.min"),
    ({"restart_policy": "Never"}, "restart_policy"),
    ({"dns": {"label": "iris-demo"}}, "dns"),
    ({"container_logs": True}, "container_logs"),
    ({"allow_retired_gpu": True}, "allow_retired_gpu"),
    ({"target": "containerapp", "replicas": {"max": 2}}, "target"),
    (
        {"replicas": {"min": 0}, "alerts": {"outside_check_minutes": 5}},
        "alerts.outside_check_minutes",
    ),
    ({"probes": {"liveness": {"failure_threshold": 11}}}, "probes.liveness.failure_threshold"),
    ({"probes": {"readiness": {"timeout_seconds": 241}}}, "probes.readiness.timeout_seconds"),
]


@pytest.mark.parametrize(("given", "field"), BAD_ON_APPS)
def test_container_apps_refuse(given: dict[str, object], field: str, write: Write) -> None:
    assert only_fault(write(given, base=APPS)).field == field


# The GPU


@pytest.mark.parametrize("gpu", ["k80", "p100", "v100", "t4", "a100"])
def test_a_gpu_on_container_instances_is_refused_with_date_reason_and_way_out(
    gpu: str, write: Write
) -> None:
    fault = only_fault(write({"gpu": gpu}, {"accelerator": "gpu"}))
    assert fault.field == "gpu"
    assert "2025-07-14" in fault.rule
    assert "ServiceUnavailable" in fault.rule
    assert "target: containerapps" in fault.fix
    assert "allow_retired_gpu: true" in fault.fix


def test_a_retired_gpu_is_read_where_it_is_asked_for_nevertheless(write: Write) -> None:
    given = {"gpu": "v100", "gpu_count": 2, "allow_retired_gpu": True}
    _, environment = read_environment("staging", write(given, {"accelerator": "gpu"}))
    assert (environment.gpu, environment.gpu_count) == ("v100", 2)


@pytest.mark.parametrize(
    ("given", "field"), [({"gpu": "t4"}, "gpu"), ({"gpu": "v100", "gpu_count": 3}, "gpu_count")]
)
def test_container_instances_never_had_such_a_gpu(
    given: dict[str, object], field: str, write: Write
) -> None:
    root = write({**given, "allow_retired_gpu": True}, {"accelerator": "gpu"})
    assert only_fault(root).field == field


GPU_ON_APPS: list[tuple[dict[str, object], str]] = [
    ({"gpu": "v100"}, "gpu"),
    ({"gpu": "t4", "cpu": 9, "memory_gb": 56}, "cpu"),
    ({"gpu": "t4", "cpu": 8, "memory_gb": 57}, "memory_gb"),
    ({"gpu": "a100", "cpu": 24, "memory_gb": 221}, "memory_gb"),
    ({"gpu": "t4", "gpu_count": 2}, "gpu_count"),
]


@pytest.mark.parametrize(("given", "field"), GPU_ON_APPS)
def test_container_apps_have_one_t4_or_a100_of_a_fixed_size(
    given: dict[str, object], field: str, write: Write
) -> None:
    assert only_fault(write(given, {"accelerator": "gpu"}, APPS)).field == field


def test_a_gpu_needs_the_gpu_image(write: Write) -> None:
    fault = only_fault(write({"gpu": "t4"}, base=APPS))
    assert fault.field == "gpu"
    assert "accelerator: gpu" in fault.fix


def test_the_gpu_image_needs_a_gpu_or_leave_to_use_the_cpu(write: Write) -> None:
    assert "EXECUTION_PROVIDERS" in only_fault(write(project={"accelerator": "gpu"})).fix
    allowed = {"variables": {"EXECUTION_PROVIDERS": "cuda,cpu"}}
    assert read_environment("staging", write(allowed, {"accelerator": "gpu"}))


# Neighbours


def test_two_environments_must_not_share_a_resource_group(write: Write) -> None:
    root = write()
    other = {**STAGING, "name": "iris-service-production"}
    (root / "deploy/environments/production.yaml").write_text(yaml.safe_dump(other), "utf-8")
    fault = only_fault(root)
    assert fault.field == "resource_group"
    assert "production" in fault.rule


@pytest.mark.parametrize("stage", ["registry", "prune"])
def test_an_environment_must_not_have_the_name_of_a_job_with_its_own_identity(
    write: Write, stage: str
) -> None:
    folder = write() / "deploy" / "environments"
    (folder / "staging.yaml").rename(folder / f"{stage}.yaml")
    with pytest.raises(ConfigError, match=f"stage is '{stage}': is the name of GitHub's"):
        read_environment(stage, folder.parents[1])


def test_a_broken_neighbour_is_no_fault_of_this_environment(write: Write) -> None:
    root = write()
    (root / "deploy/environments/production.yaml").write_text("a: b: c", "utf-8")
    assert read_environment("staging", root)


# Secrets never appear


@pytest.mark.parametrize(
    "given",
    [
        {"secrets": {"API_KEYS": "planted-value-123"}},
        {"secrets": ["API_KEYS=planted-value-123"]},
        {"secrets": [{"API_KEYS": "planted-value-123"}]},
        {"secrets": "planted-value-123"},
        {"secrets": ["planted_value_123", "planted_value_123"]},
        {"variables": {"API_KEYS": "planted-value-123"}},
        {"variables": {"API_KEYS": "planted-value-123"}, "secrets": ["API_KEYS"]},
        {"variables": {"Otel_Exporter_Otlp_Headers": "api-key=planted-value-123"}},
        {"variables": {"ApplicationInsights_Connection_String": "planted-value-123"}},
        {
            "variables": {"APPLICATIONINSIGHTS_CONNECTION_STRING": "planted-value-123"},
            "telemetry": False,
        },
    ],
)
def test_a_secret_in_the_wrong_place_is_never_repeated(
    given: dict[str, object], write: Write
) -> None:
    found = faults(write(given))
    assert found
    assert "planted" not in "\n".join(str(fault) for fault in found)


def test_an_application_insights_of_ones_own_is_a_secret_like_others(write: Write) -> None:
    own = {"telemetry": False, "secrets": ["APPLICATIONINSIGHTS_CONNECTION_STRING"]}
    _, environment = read_environment("staging", write(own))
    assert environment.secret_settings == ("APPLICATIONINSIGHTS_CONNECTION_STRING",)


def test_values_of_secrets_are_checked_by_name_only() -> None:
    ((name, rule),) = setting_faults({"API_KEYS": "short", "MY_OWN": "anything"})
    assert name == "API_KEYS"
    assert "at least 16" in rule
    assert "short" not in rule


def test_what_is_around_does_not_reach_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKERS", "many")
    assert list(setting_faults({"LOG_LEVEL": "info"})) == []


# Warnings


def test_a_quiet_configuration_warns_of_plain_http_only() -> None:
    text = advice(secrets=["API_KEYS"])
    assert text.count("\n") == 0
    assert "readable over http" in text


WARNED: list[tuple[dict[str, object], str]] = [
    ({"copies": 3, "cpu": 2}, "12 of the region's cores"),
    ({"switch": "beside"}, "fails after a deploy until it asks again"),
    ({"cpu": 5}, "support request"),
    ({"memory_gb": 17}, "support request"),
    ({"cpu": 11}, "10 cores"),
    ({"port": 80}, "below 1024"),
    ({"dns": {"reuse": "Unsecure"}}, "anyone in Azure can take"),
    ({"dns": {"reuse": "Noreuse"}}, "another one after every"),
    ({"secrets": []}, "everyone who knows the address"),
    ({"variables": {"DB_PASSWORD": "x"}}, "looks like a secret"),
    ({"variables": {"MAX_QUEU_ROWS": "5"}}, "did you mean MAX_QUEUE_ROWS?"),
    ({"probes": {"liveness": {"path": "/readyz"}}}, "killed instead of left alone"),
    ({"restart_policy": "Never"}, "stays down"),
    ({"region": "swedencentral"}, "pulls the image across"),
    ({"gpu": "v100", "allow_retired_gpu": True}, "expected to answer ServiceUnavailable"),
    (
        {"gpu": "t4", "variables": {"EXECUTION_PROVIDERS": "cpu"}},
        "the GPU is paid for and stays idle",
    ),
    (
        {"target": "containerapps", "gpu": "t4", "replicas": {"min": 1}},
        "bills day and night",
    ),
]


@pytest.mark.parametrize(("given", "says"), WARNED)
def test_a_warning_is_given(given: dict[str, object], says: str) -> None:
    assert says not in advice(secrets=["API_KEYS"])
    assert says in advice(**{"secrets": ["API_KEYS"], **given})


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("CAPTURE", "/tmp/captured", True),
        ("capture", "off", False),
        ("CAPTURE", "https://irisdata.blob.core.windows.net/captured", False),
        ("FEEDBACK", "100000", True),
        ("FEEDBACK", "0", False),
    ],
)
def test_what_is_read_with_a_key_only_is_told_where_there_is_none(
    name: str, value: str, *, says: bool
) -> None:
    words = f"variables.{name} is set and secrets has no API_KEYS"
    assert (words in advice(secrets=[], variables={name: value})) == says
    assert words not in advice(secrets=["API_KEYS"], variables={name: value})


def test_sizes_at_the_edge_need_no_request() -> None:
    assert "support request" not in advice(cpu=4, memory_gb=16)


def test_settings_of_the_service_are_not_taken_for_misspelt() -> None:
    given = {"LOG_LEVEL": "info", "MAX_QUEUE_ROWS": "5", "MY_OWN_THING": "x"}
    assert "did you mean" not in advice(variables=given)
