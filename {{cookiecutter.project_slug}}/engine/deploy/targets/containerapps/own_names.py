"""Own names of an app: Azure checks two records, takes the name, and makes its certificate.

The same as `az containerapp hostname add` and `bind`, which ask for rights on the subscription and
wait for up to 20 minutes. Azure docs: custom domain names and free managed certificates.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from engine.deploy.azure_ids import same
from engine.deploy.config.environment import Environment
from engine.deploy.finding import Certainty, Finding
from engine.deploy.targets.containerapps.client import AppClient, Json
from engine.deploy.targets.containerapps.environment import Https
from engine.deploy.targets.own_names import OwnNames, Record, ZoneRecords

_POLL_SECONDS = 5.0
_ENABLED, _SUCCEEDED = "SniEnabled", "Succeeded"
_ENDED = frozenset({"Failed", "Canceled", "DeploymentFailed"})


class AppNames(OwnNames):
    """See ``OwnNames``; ``sleep`` and ``clock`` are there for tests."""

    def __init__(
        self,
        https: Https,
        zone: ZoneRecords | None,
        client: AppClient,
        environment: Environment,
        place: str,
        *,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(https, zone)
        self._client = client
        self._environment = environment
        self._place = place
        self._sleep = sleep
        self._clock = clock

    def records(self, domain: str, host: str) -> tuple[Record, ...]:
        """See ``OwnNames``: a zone's own name can have no CNAME record, and gets the address."""
        app = self._client.app() or {"properties": {}}
        proof = app["properties"].get("customDomainVerificationId")
        leads = Record(domain, "CNAME", host)
        if self._zone is not None and domain == self._zone.zone.name:
            leads = Record(domain, "A", self._static_ip() or "<address of the apps>")
        return leads, Record(f"asuid.{domain}", "TXT", proof or "<customDomainVerificationId>")

    def look(self, domain: str, host: str) -> Finding | None:
        """See ``OwnNames``: the records as Azure sees them, then the binding."""
        return self._seen(domain, host)[1] or self._unbound(domain)

    def bind(self, domain: str, host: str, patience: float) -> Finding | None:
        """See ``OwnNames``: add the name, order its certificate, and bind it."""
        proof, wrong = self._seen(domain, host)
        bound = self._entry(domain)
        if wrong is not None or (bound and bound.get("bindingType") == _ENABLED):
            return wrong
        if bound is None:
            self._write(domain, {"name": domain, "bindingType": "Disabled"})
        certificate = self._certificate(domain)
        if certificate is None or _state(certificate) in _ENDED:
            certificate = self._order(domain, proof, certificate)
        give_up = self._clock() + patience
        while _state(certificate) not in {_SUCCEEDED, *_ENDED} and self._clock() < give_up:
            self._sleep(_POLL_SECONDS)
            certificate = self._certificate(domain)
        if certificate is None or _state(certificate) != _SUCCEEDED:
            return self._not_issued(domain, certificate)
        shown = {"name": domain, "bindingType": _ENABLED, "certificateId": certificate["id"]}
        self._write(domain, shown)
        return None

    def bound(self) -> tuple[str, ...]:
        """See ``OwnNames``: by the name of the certificate; one of another is somebody else's."""
        own = ((str(each["name"]).lower(), each.get("certificateId")) for each in self._domains())
        return tuple(name for name, used in own if same(used, self._own_id(name)))

    def unbind(self, domain: str) -> None:
        """See ``OwnNames``: the name is free for another app, and what was ordered here is gone."""
        if self._entry(domain) is not None:
            self._write(domain, None)
        certificate = self._certificate(domain)
        if certificate is not None and certificate["id"].lower() == self._own_id(domain).lower():
            self._client.forget(certificate["id"])

    def _seen(self, domain: str, host: str) -> tuple[str, Finding | None]:
        """How Azure can check the name for a certificate, and what is wrong with its records."""
        seen = self._client.analysis(domain)
        if seen.get("hasConflictOnManagedEnvironment"):
            other = str(seen.get("conflictingContainerAppResourceId")).rpartition("/")[2]
            command = f"az containerapp hostname delete --name {other} --hostname {domain}"
            return "", Finding(
                "own-name-taken",
                f"{domain} is bound to the container app {other} already",
                f"remove it there ({command} --resource-group …), then run `up` again",
            )
        names = [str(each).rstrip(".").lower() for each in seen.get("cNameRecords") or []]
        proof = "CNAME" if host.lower() in names else "HTTP"
        owned = seen.get("customDomainVerificationTest") == "Passed"
        if owned and (proof == "CNAME" or self._static_ip() in (seen.get("aRecords") or [])):
            return proof, None
        told = ", ".join([*names, *(seen.get("aRecords") or [])])
        missing = f"leads to {told}" if told else "does not resolve"
        if owned or not told:
            cause = f"{domain} {missing}, and this environment is {host}"
        else:
            cause = f"{domain} is not proven to be yours: its TXT record is missing or another one"
        return "", Finding("certificate-dns", cause, self.told(domain, host), Certainty.LIKELY)

    def _unbound(self, domain: str) -> Finding | None:
        bound = self._entry(domain)
        if bound is not None and bound.get("bindingType") == _ENABLED:
            return None
        certificate = self._certificate(domain)
        if bound is not None and certificate is not None and _state(certificate) != _SUCCEEDED:
            return self._not_issued(domain, certificate)
        return Finding(
            "own-name",
            f"{domain} is not bound to the app {self._environment.name}",
            f"`.venv/bin/python -m engine.deploy up {self._environment.stage}` binds it",
            Certainty.LIKELY,
        )

    def _not_issued(self, domain: str, certificate: Json | None) -> Finding:
        again = f"run `.venv/bin/python -m engine.deploy up {self._environment.stage}` again"
        if certificate is None or _state(certificate) not in _ENDED:
            return Finding(
                "certificate-pending",
                f"Azure is still making the certificate of {domain}, which takes up to 20 minutes",
                f"{again} then: it binds the name",
                Certainty.LIKELY,
            )
        why = certificate["properties"].get("error") or _state(certificate)
        return Finding(
            "certificate-failed",
            f"Azure could not make the certificate of {domain}: {why}",
            f"correct what it names, then {again}: it orders a new one",
            Certainty.LIKELY,
        )

    def _order(self, domain: str, proof: str, failed: Json | None) -> Json | None:
        if failed is not None:
            self._client.forget(failed["id"])
        place = self._client.environment(self._place)
        location = place["location"] if place else self._environment.region
        self._client.order(self._own_id(domain), location, domain, proof)
        return self._certificate(domain)

    def _own_id(self, domain: str) -> str:
        digest = hashlib.sha256(domain.encode()).hexdigest()[:8]
        name = f"{domain.replace('.', '-')[:40].rstrip('-')}-{digest}"
        return f"{self._place}/managedCertificates/{name}"

    def _certificate(self, domain: str) -> Json | None:
        """The certificate of a name; one that is usable before one that is not."""
        found = [
            each
            for each in self._client.certificates(self._place)
            if str(each["properties"].get("subjectName")).lower() == domain
        ]
        found.sort(key=lambda each: (_state(each) != _SUCCEEDED, _state(each) in _ENDED))
        return found[0] if found else None

    def _static_ip(self) -> str | None:
        place = self._client.environment(self._place)
        return place["properties"].get("staticIp") if place else None

    def _domains(self) -> list[Json]:
        app = self._client.app()
        configuration = app["properties"]["configuration"] if app else {}
        listed: list[Json] = (configuration.get("ingress") or {}).get("customDomains") or []
        return listed

    def _entry(self, domain: str) -> Json | None:
        return next((each for each in self._domains() if each["name"].lower() == domain), None)

    def _write(self, domain: str, entry: Json | None) -> None:
        """Names that somebody else bound stay."""
        others = [each for each in self._domains() if each["name"].lower() != domain]
        listed = [*others, *([entry] if entry else [])]
        ingress = {"customDomains": listed}
        self._client.patch({"properties": {"configuration": {"ingress": ingress}}})
        self._client.wait_until_idle()


def _state(certificate: Json | None) -> str:
    return str(certificate["properties"].get("provisioningState")) if certificate else ""
