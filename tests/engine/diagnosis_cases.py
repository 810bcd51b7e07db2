"""What the diagnosis may see, as tables: the cause that it must find, and those that it must not.

The sentences of Azure and Entra are those that these services answer with.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from engine.deploy.azure_ids import REPOSITORY_READER
from engine.deploy.diagnosis.evidence import Evidence, Readiness, Unfinished

from tests.engine.evidence import BACKING_OFF, IMAGE, READY, REGISTRY, arm_group, ended, event, seen

NOT_YET = Readiness("not ready", "starting", "models are being loaded and checked")
SILENT = Readiness("unreachable", detail="http://x:8000: no answer in time (ConnectTimeout)")
NO_ROLE = replace(REGISTRY, roles=frozenset({"0000"}))
ABAC = replace(REGISTRY, abac=True)
PULL_REFUSED = event(
    "Failed", f'Failed to pull image "{IMAGE}": unauthorized: authentication', count=4
)
INACCESSIBLE = (
    f"The image '{IMAGE}' in container group 'iris-staging' is not accessible. Please check the "
    "image and registry credential."
)
PULLING = {
    "state": "Waiting",
    "detailStatus": f'ImagePullBackOff: Back-off pulling image "{IMAGE}"',
}


def not_pulled(why: str) -> dict[str, Any]:
    """A container whose image cannot be fetched."""
    said = f'Failed to pull image "{IMAGE}": Get "https://r/v2/": dial tcp: {why}'
    return {"current": PULLING, "events": [event("Failed", said, count=4)]}


TIMED_OUT = "Subscription deployment didn't reach a successful provisioning state after '00:30:00'."
LIVENESS = event(
    "Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 500", count=3
)
READINESS = event("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503")
REFUSED = event("Unhealthy", "Readiness probe failed: dial tcp 10.92.0.4:8000: connection refused")
KILLING = event("Killing", "Killing container with id 1f2e", bad=False)
QUOTA = (
    "Resource type 'Microsoft.ContainerInstance/containerGroups' container group quota '{}' "
    "exceeded in region 'westeurope'. Limit: '10', Usage: '9' Requested: '4'."
)
NO_ROOM = (
    "The requested resource is not available in the location 'westeurope' at this moment. Please "
    "retry with a different resource request or in another location. Resource requested: '2' CPU "
    "'4' GB memory 'Linux' OS"
)
LINKED = (
    "The client 'a' with object id 'b' has permission to perform action "
    "'Microsoft.ContainerInstance/containerGroups/write' on scope '/subscriptions/s'; however, it "
    "does not have permission to perform action "
    "'Microsoft.ManagedIdentity/userAssignedIdentities/assign/action' on the linked scope(s) "
    "'/subscriptions/s/i' or the linked scope(s) are invalid."
)
FORBIDDEN = (
    "The client 'a' with object id 'b' does not have authorization to perform action "
    "'Microsoft.ContainerInstance/containerGroups/write' over scope '/subscriptions/s' or the "
    "scope is invalid. If access was recently granted, please refresh your credentials."
)
NO_CREDENTIAL = (
    "AADSTS700213: No matching federated identity record found for presented assertion subject "
    "'{}'. Check your federated identity credential Subject, Audience and Issuer against the "
    "presented assertion."
)
CASE = (
    "AADSTS7002138: No matching federated identity record found for presented assertion subject "
    "'repo:me/iris:environment:Production'. The subject matches with case-insensitive comparison, "
    "but not with case-sensitive comparison."
)
SETTINGS = "error: WORKERS='two': Input should be a valid integer (default: 1)"
NO_CUDA = "error: EXECUTION_PROVIDERS=cuda and CUDA cannot be used: no NVIDIA driver"
JSON_ERROR = '{"level": "error", "message": "not ready: no model package in /app/models"}'
TRACEBACK = "Traceback (most recent call last):\n  File x\nMemoryError: cannot allocate"
LAST = "some library said goodbye"
VERIFYING = Unfinished("20261121-abc", silent_seconds=300)

CRASHING: dict[str, Any] = {"current": BACKING_OFF, "restarts": 4}

# What is seen, the code of the first finding, words that its cause must hold.
CASES: list[tuple[str, Evidence, str, str]] = [
    # pulling the image
    (
        "identity not attached",
        seen(group=arm_group(attached="/subscriptions/s/other")),
        "image-identity",
        "not attached",
    ),
    (
        "identity refused by Azure",
        seen(
            "The identity in the 'imageRegistryCredentials' of container group 'iris-staging' not "
            "found in container group identity list.",
            code="InvalidImageRegistryIdentity",
        ),
        "image-identity",
        "not attached",
    ),
    (
        "role missing",
        seen(INACCESSIBLE, code="InaccessibleImage", registry=NO_ROLE),
        "image-role",
        "no role that lets it pull from iris",
    ),
    (
        "role missing, while pulling",
        seen(registry=NO_ROLE, group=arm_group(current=PULLING, events=[PULL_REFUSED])),
        "image-role",
        "no role",
    ),
    (
        "AcrPull under ABAC",
        seen(INACCESSIBLE, code="InaccessibleImage", registry=ABAC),
        "image-role",
        "under ABAC and ignores AcrPull",
    ),
    (
        "digest absent in the registry",
        seen(INACCESSIBLE, code="InaccessibleImage", registry=replace(REGISTRY, has_image=False)),
        "image-absent",
        IMAGE,
    ),
    (
        "digest absent by the event",
        seen(
            group=arm_group(
                current=PULLING,
                events=[event("Failed", f'Failed to pull image "{IMAGE}": manifest unknown')],
            )
        ),
        "image-absent",
        IMAGE,
    ),
    (
        "too large",
        seen(TIMED_OUT, registry=replace(REGISTRY, image_bytes=16_100_000_000)),
        "image-size",
        "16.1 GB",
    ),
    (
        "no space on the host",
        seen("failed to register layer: write /lib: no space left on device"),
        "image-size",
        "at most 15 GB",
    ),
    (
        "throttled",
        seen(
            "An error response is received from the docker registry", code="RegistryErrorResponse"
        ),
        "image-throttled",
        "asked too often",
    ),
    (
        "refused, and nobody may look at roles",
        seen(INACCESSIBLE, code="InaccessibleImage", registry=None),
        "image-refused",
        "role, digest or server",
    ),
    (
        "unauthorised, and nobody may look at roles",
        seen(registry=None, group=arm_group(current=PULLING, events=[PULL_REFUSED])),
        "image-refused",
        "does not let the identity in",
    ),
    # ends of the container
    (
        "out of memory",
        seen(group=arm_group(**CRASHING, previous=ended(137, "OOMKilled"))),
        "out-of-memory",
        "more memory than 1.5 GB",
    ),
    (
        "killed, most likely by the memory",
        seen(group=arm_group(**CRASHING, previous=ended(137))),
        "out-of-memory",
        "exit code 137",
    ),
    (
        "killed by its probe",
        seen(
            group=arm_group(**CRASHING, previous=ended(137), events=[LIVENESS, KILLING]),
            readiness=SILENT,
        ),
        "liveness",
        "statuscode: 500",
    ),
    (
        "wrong settings",
        seen(logs=SETTINGS, group=arm_group(**CRASHING, previous=ended(2))),
        "settings",
        "WORKERS='two'",
    ),
    (
        "wrong settings, log gone",
        seen(group=arm_group(**CRASHING, previous=ended(2))),
        "settings",
        "its log names them",
    ),
    (
        "no GPU",
        seen(logs=NO_CUDA, group=arm_group(**CRASHING, previous=ended(1))),
        "cannot-run",
        "CUDA cannot be used",
    ),
    (
        "gave up in JSON",
        seen(logs=JSON_ERROR, group=arm_group(**CRASHING, previous=ended(1))),
        "cannot-run",
        "no model package",
    ),
    (
        "an exception",
        seen(logs=TRACEBACK, group=arm_group(**CRASHING, previous=ended(1))),
        "cannot-run",
        "MemoryError",
    ),
    (
        "segmentation fault",
        seen(group=arm_group(**CRASHING, previous=ended(139))),
        "exit-139",
        "SIGSEGV",
    ),
    ("no such command", seen(group=arm_group(current=ended(127))), "exit-127", "does not exist"),
    (
        "maintenance",
        seen(group=arm_group(restarts=1, previous=ended(7147))),
        "platform-stop",
        "gracefully",
    ),
    (
        "crash loop",
        seen(logs=LAST, group=arm_group(**CRASHING, previous=ended(3))),
        "crash-loop",
        f"with exit code 3, 4 times so far; its last words: {LAST}",
    ),
    (
        "ends without an error",
        seen(group=arm_group(**CRASHING, previous=ended(0, "Completed"))),
        "crash-loop",
        "without an error",
    ),
    # ports, probes, names
    (
        "PORT differs",
        seen(group=arm_group(port="9000"), readiness=SILENT),
        "port-mismatch",
        "listens on port 9000, and the address of the group means port 8000",
    ),
    (
        "the probe's port differs",
        seen(group=arm_group(probe_port=80, events=[REFUSED]), readiness=SILENT),
        "port-mismatch",
        "a probe means port 80",
    ),
    (
        "readiness fails",
        seen(group=arm_group(events=[READINESS]), readiness=SILENT),
        "readiness",
        "statuscode: 503",
    ),
    (
        "the service says no",
        seen(
            group=arm_group(events=[READINESS]),
            readiness=Readiness("not ready", "failed", "golden check failed: output 'label'"),
        ),
        "service-failed",
        "golden check failed",
    ),
    (
        "the service says no, in its log only",
        seen(group=arm_group(events=[READINESS]), logs=JSON_ERROR, readiness=SILENT),
        "service-failed",
        "no model package in /app/models",
    ),
    ("still loading", seen(readiness=NOT_YET), "still-starting", "models are being loaded"),
    ("no answer", seen(readiness=SILENT), "unreachable", "does not answer from here"),
    (
        "a private address",
        seen(readiness=SILENT, group=arm_group(address="Private")),
        "private-address",
        "cannot be reached from here",
    ),
    (
        "no NAT gateway",
        seen(group=arm_group(address="Private", **not_pulled("i/o timeout"))),
        "subnet-nat",
        "the registry is not reached",
    ),
    (
        "no DNS in a subnet",
        seen(group=arm_group(address="Private", **not_pulled("lookup r: no such host"))),
        "subnet-dns",
        "does not resolve",
    ),
    # the platform
    (
        "quota",
        seen(QUOTA.format("StandardCores"), code="ContainerGroupQuotaReached"),
        "quota",
        "StandardCores in westeurope is used up: limit 10, in use 9, asked for 4",
    ),
    (
        "quota of a GPU",
        seen(QUOTA.format("P100Cores"), code="ContainerGroupQuotaReached"),
        "gpu-quota",
        "P100 GPU",
    ),
    ("too many requests", seen("slow down", code="TooManyRequests"), "quota-rate", "how often"),
    ("capacity", seen(NO_ROOM, code="ServiceUnavailable"), "capacity", "westeurope has no room"),
    (
        "capacity, in the older words",
        seen(
            "The requested resource with '2' CPU and '4.0' GB memory is not available in the "
            "location 'westeurope' at this moment."
        ),
        "capacity",
        "westeurope",
    ),
    (
        "label taken",
        seen(
            "The DNS name label 'iris' in container group 'iris-staging' is not available. Try "
            "using a different label.",
            code="DnsNameLabelAlreadyTaken",
        ),
        "label-taken",
        "label iris",
    ),
    (
        "transitioning",
        seen(
            "The container group 'iris-staging' is still transitioning, please retry later.",
            code="ContainerGroupTransitioning",
        ),
        "transitioning",
        "still busy",
    ),
    (
        "immutable",
        seen(
            "The updates on container group 'iris-staging' are invalid. If you are going to update "
            "the os type, restart policy, network profile, CPU, memory or GPU resources for a "
            "container group, you must delete it first and then create a new one."
        ),
        "immutable",
        "cannot change while it exists",
    ),
    (
        "provider refused",
        seen(
            "The subscription is not registered to use namespace 'Microsoft.ContainerInstance'. "
            "See https://aka.ms/rps-not-found for how to register subscriptions.",
            code="MissingSubscriptionRegistration",
        ),
        "provider",
        "Microsoft.ContainerInstance",
    ),
    (
        "provider not registered",
        seen(more={"unregistered": ("Microsoft.App",)}),
        "provider",
        "Microsoft.App",
    ),
    (
        "linked role",
        seen(LINKED, code="LinkedAuthorizationFailed"),
        "linked-role",
        "userAssignedIdentities/assign/action on /subscriptions/s/i",
    ),
    (
        "role",
        seen(FORBIDDEN, code="AuthorizationFailed"),
        "role",
        "may not do Microsoft.ContainerInstance/containerGroups/write on /subscriptions/s",
    ),
    (
        "policy",
        seen("Resource was disallowed", code="RequestDisallowedByPolicy"),
        "policy",
        "policy",
    ),
    ("lock", seen("The scope cannot perform", code="ScopeLocked"), "lock", "lock"),
    (
        "subscription",
        seen("The subscription is disabled", code="ReadOnlyDisabledSubscription"),
        "subscription",
        "disabled",
    ),
    (
        "resource group",
        seen("Resource group 'iris-staging' could not be found.", code="ResourceGroupNotFound"),
        "group-missing",
        "resource group",
    ),
    ("timeout and nothing else", seen(TIMED_OUT), "provisioning-timeout", "00:30:00"),
    (
        "GPU in the configuration",
        seen(NO_ROOM, code="ServiceUnavailable", more={"gpu": "v100"}),
        "gpu-retired",
        "2025-07-14",
    ),
    (
        "GPU in the group",
        seen(TIMED_OUT, group=arm_group(gpu={"count": 1, "sku": "V100"})),
        "gpu-retired",
        "2025-07-14",
    ),
    # logins
    (
        "subject with numbers",
        seen(NO_CREDENTIAL.format("repo:me@12/iris@345:environment:staging")),
        "oidc-subject",
        "repositories made after 2026-07-15",
    ),
    (
        "classic subject",
        seen(NO_CREDENTIAL.format("repo:me/iris:ref:refs/heads/main")),
        "oidc-subject",
        "has the subject repo:me/iris:ref:refs/heads/main",
    ),
    ("case of the subject", seen(CASE), "oidc-case", "upper and lower case"),
    (
        "unknown application",
        seen("AADSTS700016: Application with identifier 'x' was not found in the directory"),
        "oidc-application",
        "no identity with that client id",
    ),
    (
        "no id-token",
        seen("Unable to get ACTIONS_ID_TOKEN_REQUEST_URL env variable"),
        "oidc-permission",
        "may not ask GitHub",
    ),
    (
        "no client id",
        seen("Not all values are present. Ensure 'client-id' and 'tenant-id' are supplied."),
        "oidc-values",
        "no client id",
    ),
    (
        "token expired",
        seen("AADSTS700024: Client assertion is not within its valid time range."),
        "oidc-expired",
        "expired",
    ),
    (
        "not logged in",
        seen("Please run 'az login' to setup account.", code="NotLoggedIn"),
        "not-logged-in",
        "nobody is logged in",
    ),
    # where it stands
    (
        "nothing there",
        Evidence(stage="staging", deployed=False),
        "absent",
        "nothing is deployed to staging",
    ),
    (
        "stopped",
        seen(
            group=arm_group(state="Stopped", current=ended(137)),
            readiness=None,
            more={"stopped": True},
        ),
        "stopped",
        "on purpose",
    ),
    (
        "interrupted",
        seen(more={"unfinished": VERIFYING}),
        "interrupted",
        "20261121-abc was interrupted, silent for 300 s",
    ),
    (
        "a rollout goes on",
        seen(more={"unfinished": replace(VERIFYING, silent_seconds=5)}),
        "under-way",
        "goes on at this moment",
    ),
    (
        "stuck",
        replace(
            seen(
                readiness=None,
                group=arm_group(
                    provisioning="Creating",
                    current={"state": "Waiting"},
                    events=[event("Pulling", "pulling image", bad=False)],
                ),
            ),
            now=datetime(2026, 11, 21, 10, 50, tzinfo=UTC),
        ),
        "stuck",
        "Creating for 26 minutes",
    ),
    (
        "stuck without events",
        seen(readiness=None, group=arm_group(provisioning="Pending", current={"state": "Waiting"})),
        "stuck",
        "without any event",
    ),
    (
        "failed, and no reason is known",
        seen(readiness=None, group=arm_group(provisioning="Failed")),
        "provisioning-failed",
        "goes on trying",
    ),
    (
        "a secret that was never given",
        seen(more={"missing_secrets": ("API_KEYS",)}),
        "secret",
        "API_KEYS",
    ),
]

# What looks like a code's cause and is none: the code must not be among the findings.
NEAR_MISSES: list[tuple[str, Evidence]] = [
    ("image-identity", seen(INACCESSIBLE, code="InaccessibleImage")),
    ("image-role", seen(INACCESSIBLE, code="InaccessibleImage")),
    ("image-role", seen(registry=replace(ABAC, roles=frozenset({REPOSITORY_READER})))),
    ("image-role", seen(INACCESSIBLE, registry=replace(NO_ROLE, roles=None))),
    ("image-absent", seen(INACCESSIBLE, code="InaccessibleImage")),
    ("image-absent", seen("The container 'x' was not found.", code="ContainerNotFound")),
    ("image-size", seen(registry=replace(REGISTRY, image_bytes=14_900_000_000))),
    (
        "image-size",
        seen(target="containerapps", registry=replace(REGISTRY, image_bytes=20_000_000_000)),
    ),
    ("image-throttled", seen(INACCESSIBLE, code="InaccessibleImage")),
    (
        "image-refused",
        seen(group=arm_group(events=[event("Pulled", "Successfully pulled image", bad=False)])),
    ),
    ("image-refused", seen(INACCESSIBLE, code="InaccessibleImage", registry=NO_ROLE)),
    ("out-of-memory", seen(group=arm_group(**CRASHING, previous=ended(1)))),
    (
        "out-of-memory",
        seen(group=arm_group(**CRASHING, previous=ended(137), events=[LIVENESS, KILLING])),
    ),
    (
        "out-of-memory",
        seen(group=arm_group(state="Stopped", current=ended(137)), more={"stopped": True}),
    ),
    ("liveness", seen(group=arm_group(events=[READINESS]))),
    ("liveness", seen(group=arm_group(events=[KILLING], previous=ended(137), restarts=1))),
    ("settings", seen(logs=SETTINGS, group=arm_group(**CRASHING, previous=ended(1)))),
    ("settings", seen(logs=SETTINGS)),
    ("cannot-run", seen(logs=NO_CUDA)),
    ("cannot-run", seen(logs=LAST, group=arm_group(**CRASHING, previous=ended(1)))),
    ("exit-139", seen(group=arm_group(**CRASHING, previous=ended(138)))),
    ("exit-127", seen(group=arm_group(current=ended(0, "Completed")))),
    ("platform-stop", seen(group=arm_group(current=ended(7147)), more={"stopped": True})),
    ("crash-loop", seen(group=arm_group(restarts=1, previous=ended(3)))),
    ("crash-loop", seen(group=arm_group(**CRASHING, previous=ended(137, "OOMKilled")))),
    ("port-mismatch", seen(group=arm_group(port="8080", probe_port=8080, public_port=8080))),
    ("port-mismatch", seen(target="containerapps", group=arm_group(port="9000"))),
    ("readiness", seen(group=arm_group(events=[READINESS]), readiness=READY)),
    ("readiness", seen(group=arm_group(events=[REFUSED], port="9000"), readiness=SILENT)),
    ("service-failed", seen(readiness=NOT_YET)),
    ("service-failed", seen(logs=JSON_ERROR, readiness=READY)),
    ("service-failed", seen(logs=LAST, readiness=SILENT)),
    ("still-starting", seen(readiness=Readiness("not ready", "failed", "golden check failed"))),
    ("unreachable", seen(readiness=READY)),
    ("unreachable", seen(readiness=SILENT, group=arm_group(current=BACKING_OFF))),
    ("unreachable", seen(readiness=SILENT, group=arm_group(events=[READINESS]))),
    ("private-address", seen(readiness=SILENT)),
    ("private-address", seen(group=arm_group(address="Private"))),
    ("subnet-nat", seen(group=arm_group(**not_pulled("i/o timeout")))),
    ("subnet-nat", seen(group=arm_group(address="Private", events=[PULL_REFUSED]))),
    ("subnet-dns", seen(group=arm_group(address="Private", **not_pulled("i/o timeout")))),
    ("quota", seen(QUOTA.format("P100Cores"), code="ContainerGroupQuotaReached")),
    ("quota", seen("Quota exceeded for something else", code="QuotaExceeded")),
    ("gpu-quota", seen(QUOTA.format("StandardCores"), code="ContainerGroupQuotaReached")),
    ("quota-rate", seen(QUOTA.format("StandardCores"), code="ContainerGroupQuotaReached")),
    ("capacity", seen("The requested resource type is not known")),
    ("label-taken", seen("The DNS name label 'a_b' is invalid", code="InvalidDnsNameLabel")),
    ("transitioning", seen("The container group 'x' was not found", code="ResourceNotFound")),
    ("immutable", seen("The updates on container group 'x' were accepted")),
    ("provider", seen("not registered to use this feature", code="FeatureNotRegistered")),
    ("linked-role", seen(FORBIDDEN, code="AuthorizationFailed")),
    ("role", seen(LINKED, code="LinkedAuthorizationFailed")),
    ("policy", seen(FORBIDDEN, code="AuthorizationFailed")),
    ("lock", seen(FORBIDDEN, code="AuthorizationFailed")),
    ("subscription", seen(FORBIDDEN, code="AuthorizationFailed")),
    ("group-missing", seen("The container group 'x' was not found", code="ResourceNotFound")),
    (
        "provisioning-timeout",
        seen(TIMED_OUT, group=arm_group(**CRASHING, previous=ended(137, "OOMKilled"))),
    ),
    ("gpu-retired", seen(target="containerapps", more={"gpu": "t4"})),
    ("gpu-retired", seen(NO_ROOM, code="ServiceUnavailable")),
    ("oidc-subject", seen(CASE)),
    ("oidc-case", seen(NO_CREDENTIAL.format("repo:me/iris:environment:staging"))),
    ("oidc-application", seen(CASE)),
    ("oidc-permission", seen(CASE)),
    ("oidc-values", seen("client-id was supplied twice")),
    ("oidc-expired", seen(CASE)),
    ("not-logged-in", seen(FORBIDDEN, code="AuthorizationFailed")),
    ("absent", Evidence(deployed=None)),
    ("stopped", seen(group=arm_group(current=ended(0, "Completed")))),
    ("interrupted", seen(more={"unfinished": replace(VERIFYING, silent_seconds=59)})),
    ("under-way", seen(more={"unfinished": VERIFYING})),
    (
        "stuck",
        seen(
            group=arm_group(
                provisioning="Creating", events=[event("Pulling", "pulling", bad=False)]
            )
        ),
    ),
    ("stuck", seen(group=arm_group(provisioning="Succeeded"))),
    (
        "provisioning-failed",
        seen(group=arm_group(provisioning="Failed", **CRASHING, previous=ended(2)), logs=SETTINGS),
    ),
    ("secret", seen()),
]
