"""Own names of apps, and the certificates that Azure manages for them.

Azure docs: custom domain names and free managed certificates; the models that `az` brings along.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Any

from ..arm import ids
from ..arm.azure import Azure
from ..arm.call import Answer, Call, lister, show
from ..arm.errors import ArmError
from ..arm.routes import ResourceType, Route
from ..arm.store import Resource
from . import app_schema
from .aci_pace import Pace
from .app_environments import APPS, NAMESPACE, VERSIONS, environment_of
from .app_rules import refuse
from .dns import lookup

Json = dict[str, Any]
BINDINGS = ("Disabled", "SniEnabled", "Auto")
PROOFS = ("CNAME", "HTTP", "TXT")
PENDING, SUCCEEDED, FAILED = "Pending", "Succeeded", "Failed"


class Domains:
    """The calls on managed certificates, and on what Azure sees of a name."""

    def __init__(self, azure: Azure, apps: ResourceType, pace: Pace) -> None:
        self.azure = azure
        self.certificates = ResourceType(
            NAMESPACE, "managedEnvironments/managedCertificates", VERSIONS
        )
        self._apps = apps
        self._pace = pace
        self._work: set[asyncio.Task[None]] = set()

    def routes(self) -> Iterable[Route]:
        """What `az containerapp hostname` calls."""
        yield self.certificates.put(self.put)
        yield self.certificates.get(show)
        yield self.certificates.list(lister(self.certificates.name))
        yield self.certificates.delete(self.delete)
        yield self._apps.post("listCustomHostNameAnalysis", self.analyse)

    async def analyse(self, call: Call) -> Answer:
        """The records of a name, and whether the app may have it."""
        app, name = call.resource(), call.query.get("customhostname", "").lower()
        if not name:
            raise refuse(
                "InvalidRequestParameter", "The query parameter customHostname is missing."
            )
        found = {kind: lookup(self.azure, name, kind) for kind in ("A", "CNAME")}
        other = holder(self.azure, app, name)
        shown: Json = {
            "hostName": name,
            "isHostnameAlreadyVerified": any(each["name"] == name for each in domains(app)),
            "customDomainVerificationTest": "Passed" if owned(self.azure, name) else "Failed",
            "hasConflictOnManagedEnvironment": other is not None,
            "conflictWithEnvironmentCustomDomain": False,
            "cNameRecords": found["CNAME"],
            "txtRecords": lookup(self.azure, f"asuid.{name}", "TXT"),
            "aRecords": found["A"],
        }
        if other is not None:
            shown["conflictingContainerAppResourceId"] = other.id
        if not owned(self.azure, name):
            info = {
                "code": "InvalidCustomHostNameValidation",
                "message": _unproven(self.azure, name),
            }
            shown["customDomainVerificationFailureInfo"] = info
        return Answer(200, shown)

    async def put(self, call: Call) -> Answer:
        """Order a certificate; Azure checks the name while the caller waits."""
        app_schema.check(call.body, "ManagedCertificate")
        given = call.body.get("properties") or {}
        name, proof = str(given.get("subjectName")).lower(), given.get("domainControlValidation")
        if proof not in PROOFS:
            raise refuse("InvalidValidationMethod", f"The validation '{proof}' is not supported.")
        environment = self.azure.store.require(call.id.rpartition("/managedCertificates/")[0])
        app = next((each for each in _apps_in(self.azure, environment) if _has(each, name)), None)
        if app is None:
            raise refuse(
                "RequireCustomHostnameInEnvironment",
                f"Creating managed certificate requires hostname '{name}' added as a custom "
                f"hostname to a container app in environment '{environment.name}'.",
            )
        if self.azure.store.get(call.id) is not None:
            raise ArmError(409, "Conflict", "The certificate exists already.")
        properties = {**given, "provisioningState": PENDING, "error": None}
        body = {"location": call.body["location"], "properties": properties}
        made = self.azure.store.put(call.id, body)
        task = asyncio.create_task(self._issue(made, app, environment, name, proof))
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return Answer(201, made.shown())

    async def delete(self, call: Call) -> Answer:
        """Delete a certificate that no name is bound with."""
        found = self.azure.store.get(call.id)
        if found is None:
            return Answer(204)
        for app in self.azure.store.list(APPS):
            if any(
                ids.key(each.get("certificateId") or "/") == ids.key(found.id)
                for each in domains(app)
            ):
                raise refuse(
                    "CertificateInUse", f"The certificate '{found.name}' is bound in '{app.name}'."
                )
        await self.azure.remove(call.id)
        return Answer(200)

    async def _issue(
        self, made: Resource, app: Resource, environment: Resource, name: str, proof: str
    ) -> None:
        await asyncio.sleep(self._pace.settle)
        if fault := self.azure.faults.take("app.certificate", name):
            if fault.code == PENDING:
                return
            made.properties.update(provisioningState=FAILED, error=fault.message)
            return
        host = app.properties["configuration"]["ingress"]["fqdn"]
        leads = {
            "CNAME": host in lookup(self.azure, name, "CNAME"),
            "HTTP": environment.properties["staticIp"] in lookup(self.azure, name, "A")
            or host in lookup(self.azure, name, "CNAME"),
        }
        if leads.get(proof):
            made.properties["provisioningState"] = SUCCEEDED
        else:
            error = f"The {proof} validation of {name} failed."
            made.properties.update(provisioningState=FAILED, error=error)


def verification_id(azure: Azure) -> str:
    """What proves that a name is of this subscription: the same for all its apps."""
    return hashlib.sha256(azure.settings.subscription_id.encode()).hexdigest().upper()


def owned(azure: Azure, name: str) -> bool:
    """Whether the TXT record of a name says so."""
    return verification_id(azure) in lookup(azure, f"asuid.{name}", "TXT")


def domains(app: Resource) -> list[Json]:
    """The own names of an app."""
    ingress = app.properties["configuration"].get("ingress") or {}
    found: list[Json] = ingress.get("customDomains") or []
    return found


def holder(azure: Azure, app: Resource | None, name: str) -> Resource | None:
    """Another app that has a name."""
    mine = ids.key(app.id) if app else ""
    others = [each for each in azure.store.list(APPS) if ids.key(each.id) != mine]
    return next((each for each in others if _has(each, name)), None)


def check(azure: Azure, app: Resource | None, environment: Resource, ingress: Json | None) -> None:
    """The own names that an app would have; what it has already is not proven anew.

    Raises:
        ArmError: 400.
    """
    listed = (ingress or {}).get("customDomains") or []
    names = [str(each.get("name")) for each in listed]
    if len({name.lower() for name in names}) != len(names):
        raise refuse("DuplicateCustomDomains", "A custom domain is there more than once.")
    for each in listed:
        name, binding = str(each.get("name")), each.get("bindingType") or "SniEnabled"
        if name != name.lower() or binding not in BINDINGS:
            raise refuse("InvalidCustomDomain", f"The custom domain '{name}' is invalid.")
        if holder(azure, app, name):
            raise refuse(
                "CustomDomainInUse", f"The custom domain '{name}' is in use by another app."
            )
        if not (app and _has(app, name)) and not owned(azure, name):
            raise refuse("InvalidCustomHostNameValidation", _unproven(azure, name))
        certificate = azure.store.get(each.get("certificateId") or "/nothing")
        if binding != "SniEnabled":
            if each.get("certificateId"):
                raise refuse("CertificateNotAllowed", f"'{name}' has a certificate and no binding.")
        elif (
            certificate is None
            or not ids.is_below(certificate.id, environment.id)
            or certificate.properties.get("provisioningState") != SUCCEEDED
            or certificate.properties["subjectName"].lower() != name
        ):
            raise refuse(
                "CertificateNotFound", f"'{name}' has no certificate that is issued for it."
            )


def bound(app: Resource) -> list[str]:
    """The own names that answer."""
    return [
        each["name"] for each in domains(app) if each.get("bindingType", "SniEnabled") != "Disabled"
    ]


def _has(app: Resource, name: str) -> bool:
    return any(each["name"].lower() == name.lower() for each in domains(app))


def _apps_in(azure: Azure, environment: Resource) -> list[Resource]:
    key = ids.key(environment.id)
    return [each for each in azure.store.list(APPS) if environment_of(each) == key]


def _unproven(azure: Azure, name: str) -> str:
    return f"A TXT record pointing from asuid.{name} to {verification_id(azure)} was not found."
