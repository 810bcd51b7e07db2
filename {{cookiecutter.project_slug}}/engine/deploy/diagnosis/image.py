"""Why an image is not pulled.

Azure docs: container instances that pull from Azure Container Registry with a managed identity.
The identity must be attached to the group, named in its registry credentials, and hold a role that
the registry honours: AcrPull, or Container Registry Repository Reader where it is under ABAC.
"""

from __future__ import annotations

import re

from engine.deploy.azure_ids import honoured_roles
from engine.deploy.diagnosis.evidence import Evidence, Group
from engine.deploy.finding import Certainty, Finding

ROLE_MISSING = "image-role"

_REFUSED = re.compile(
    r"InaccessibleImage|failed to pull|ErrImagePull|ImagePullBackOff|pull access denied"
    r"|unauthorized: |is not accessible\. Please check the image and registry credential",
    re.IGNORECASE,
)
_ABSENT = re.compile(r"manifest unknown|manifest .{0,120}not found|ManifestUnknown", re.IGNORECASE)
_UNLIKELY_ROLE = re.compile(r"unauthorized|authentication required|denied", re.IGNORECASE)
_THROTTLED = re.compile(r"RegistryErrorResponse|toomanyrequests|pull rate limit", re.IGNORECASE)
_IDENTITY_CODES = re.compile(r"InvalidImageRegistryIdentity|not found in container group identity")
PULL_CODES = frozenset({"image-refused", "provisioning-timeout"})


def identity_not_attached(evidence: Evidence) -> list[Finding]:
    """The identity that is to pull is not among those of the group."""
    said = first(evidence, _IDENTITY_CODES)
    loose = _loose_identities(evidence.group) if evidence.group else ()
    if not said and not loose:
        return []
    return [
        Finding(
            "image-identity",
            "the identity that is to pull the image is not attached to the container group",
            "name the same user-assigned identity under `identity` and under "
            "`imageRegistryCredentials`; `.venv/bin/python -m engine.deploy up` writes both",
            evidence=(*said, *(f"credential of {server}" for server in loose)),
            explains=PULL_CODES | {ROLE_MISSING},
        )
    ]


def digest_absent(evidence: Evidence) -> list[Finding]:
    """The registry has no such image."""
    said = first(evidence, _ABSENT)
    known = evidence.registry is not None and evidence.registry.has_image is False
    if not said and not known:
        return []
    images = ", ".join(container.image for container in evidence.containers)
    return [absent(images, evidence.registry.name if evidence.registry else "", said)]


def absent(images: str, registry: str, said: tuple[str, ...] = ()) -> Finding:
    """The registry, named if that is known, does not have an image."""
    return Finding(
        "image-absent",
        f"the registry {registry} ".rstrip() + f" does not have {images or 'the image'}",
        "push it (`.venv/bin/python -m engine.deploy push`), or roll back to one that is "
        "still there (`.venv/bin/python -m engine.deploy rollback`)",
        evidence=said,
        explains=PULL_CODES | {ROLE_MISSING},
    )


def role_missing(evidence: Evidence) -> list[Finding]:
    """The identity may not pull, given how the registry decides about that."""
    registry, said = evidence.registry, first(evidence, _REFUSED)
    if registry is None or registry.roles is None:
        return []
    if registry.roles & honoured_roles(abac=registry.abac):
        return []
    role = "Container Registry Repository Reader" if registry.abac else "AcrPull"
    why = f"the runtime identity has no role that lets it pull from {registry.name}"
    if registry.abac:
        why += ", which is under ABAC and ignores AcrPull"
    return [
        Finding(
            ROLE_MISSING,
            why,
            f"give it the role {role}: `.venv/bin/python -m engine.deploy bootstrap`; a new role "
            "takes some minutes",
            Certainty.CERTAIN if said else Certainty.LIKELY,
            said,
            explains=PULL_CODES,
        )
    ]


def registry_throttles(evidence: Evidence) -> list[Finding]:
    """The registry answers that it is asked too often."""
    said = first(evidence, _THROTTLED)
    if not said:
        return []
    return [
        Finding(
            "image-throttled",
            "the registry refuses because it is asked too often, or it has a fault",
            "keep images in your own registry: public ones limit pulls from Azure's addresses",
            Certainty.LIKELY,
            said,
            explains=PULL_CODES,
        )
    ]


def refused(evidence: Evidence) -> list[Finding]:
    """It is not pulled, and what is known does not say why."""
    said = first(evidence, _REFUSED)
    if not said:
        return []
    by_role = any(_UNLIKELY_ROLE.search(text) for text in said)
    return [
        Finding(
            "image-refused",
            "Azure cannot pull the image: "
            + (
                "the registry does not let the identity in" if by_role else "role, digest or server"
            ),
            "check the role (`.venv/bin/python -m engine.deploy bootstrap`; a new one takes "
            "minutes) and that the digest is in the registry (`az acr repository show`)",
            Certainty.LIKELY if by_role else Certainty.POSSIBLE,
            said,
            explains=frozenset({"provisioning-timeout"}),
        )
    ]


def _loose_identities(group: Group) -> tuple[str, ...]:
    return tuple(
        server for server, identity in group.credentials.items() if identity not in group.identities
    )


def first(evidence: Evidence, pattern: re.Pattern[str]) -> tuple[str, ...]:
    """The first sentence of Azure's that the pattern finds, as a tuple of at most one."""
    found = next((text for text in evidence.texts if pattern.search(text)), None)
    return () if found is None else (found,)


RULES = (
    identity_not_attached,
    digest_absent,
    role_missing,
    registry_throttles,
    refused,
)
