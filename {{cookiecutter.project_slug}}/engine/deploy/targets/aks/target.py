"""Azure Kubernetes Service: a release is a Deployment, and a rollout moves one Service.

The candidate's pods start beside those that serve, and are verified through the API server's proxy
of a Service of their own. To keep it is one PATCH of the live Service, its selector and the tags.
The pods before it are removed afterwards: they leave when their requests are answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from engine.deploy.az_error import AzError
from engine.deploy.config import names
from engine.deploy.diagnosis.evidence import Group
from engine.deploy.finding import Finding
from engine.deploy.rollout import marks
from engine.deploy.targets.aks import document as documents
from engine.deploy.targets.aks import shape
from engine.deploy.targets.aks.client import KubeClient
from engine.deploy.targets.aks.document import (
    APPLIED,
    NAME_LABEL,
    NONE,
    RELEASE_LABEL,
    TAG_PREFIX,
    Object,
    annotations_of,
)
from engine.deploy.targets.aks.environment import AksEnvironment
from engine.deploy.targets.aks.evidence import read_release
from engine.deploy.targets.aks.live import live_of
from engine.deploy.targets.base import Check, Document, Live, Places, Release
from engine.errors import EngineError

OF_RELEASE: Final = (
    *("HorizontalPodAutoscaler", "PodDisruptionBudget", "Deployment", "Service", "Secret"),
)
"""In the order in which it is removed."""
_DEPLOY: Final = "`.venv/bin/python -m engine.deploy up ENV`"


class Aks:
    """The service of one environment; see ``engine.deploy.targets.base.Target``."""

    serves_on = True
    busy_seconds = 60.0

    with_tags = staticmethod(documents.with_tags)
    differences = staticmethod(shape.differences)
    secret_names = staticmethod(documents.secret_names)
    tags = staticmethod(documents.tags_of)

    def __init__(
        self,
        environment: AksEnvironment,
        places: Places,
        client: KubeClient,
        look: Callable[[], list[Finding]] = list,
    ) -> None:
        self.what = f"service {environment.name} in cluster {environment.own_cluster.name}"
        self._environment = environment
        self._places = places
        self._name = environment.name
        self._client = client
        self._look = look

    def document(self, release: Release, tags: Mapping[str, str]) -> Document:
        """See ``Target``; the document carries the digest of what was configured."""
        document = documents.render(self._environment, release, self._places, tags)
        digest = {names.TAG_CONFIG: shape.config_digest(document)}
        return documents.with_tags(document, {**documents.tags_of(document), **digest})

    def findings(self, release: Release) -> list[Finding]:
        """See ``Target``."""
        return self._look()

    def blockers(self, live: Document, wanted: Document) -> tuple[str, ...]:
        """See ``Target``: all is made beside what is there, unless that holds the only GPU."""
        one, other = (documents.tags_of(each).get(names.TAG_SECRETS) for each in (live, wanted))
        changed = self.differences(live, wanted) or (other is not None and one != other)
        return (
            ("the GPU that it holds (replace: true)",)
            if self._environment.replace and changed
            else ()
        )

    def read(self) -> Live | None:
        """See ``Target``: what is half removed is no release any more, and a cluster that is not
        there holds none.
        """
        try:
            service = self._client.get("Service", self._name)
        except AzError as error:
            if not error.missing:
                raise
            return None
        if service is None or not _applied(service):
            return None
        name = _applied(service)
        objects = self._objects(name)
        deployment = next((each for each in objects if each["kind"] == "Deployment"), None)
        document = shape.document_of(service, objects)
        tags = documents.tags_of(document)
        return live_of(document, tags, self._address(), deployment, self._pods(name))

    def apply(self, document: Document, secrets: Mapping[str, str], check: Check) -> None:
        """See ``Target``; the release is named after its rollout."""
        name = documents.release_name(self._name, documents.tags_of(document))
        self._make(documents.renamed(document, name), secrets, check)

    def candidate_addresses(self) -> tuple[str, ...]:
        """See ``Target``: the API server leads to the ready pods of the release's own Service."""
        name = _applied(self._required())
        return (self._client.proxy_address(name),) if name else ()

    def candidate_headers(self) -> Mapping[str, str]:
        """See ``Target``: the API server wants to know who asks."""
        return self._client.login

    def candidate_authority(self) -> str:
        """See ``Target``: a cluster has its own."""
        return self._client.authority

    def client_headers(self) -> Mapping[str, str]:
        """See ``Target``: nothing."""
        return {}

    def keep(self, tags: Mapping[str, str]) -> None:
        """See ``Target``: the live Service leads to the release that was applied last."""
        self._point(_applied(self._required()), tags)

    def restore(self, previous: Document, secrets: Mapping[str, str], check: Check) -> None:
        """See ``Target``: the release that served was not touched, and goes on."""
        name = documents.own_name(previous)
        if self._client.get("Deployment", name) is None:
            # Nothing that serves is like it; made anew it serves at once, for nothing else would.
            self._make(previous, secrets, check)
        self._point(name, documents.tags_of(previous))
        self._remove_all_but({name})

    def mark(self, tags: Mapping[str, str]) -> None:
        """See ``Target``."""
        service = self._client.get("Service", self._name)
        if service is not None:
            change = {"metadata": {"annotations": _replaced(service, tags)}}
            self._client.merge("Service", self._name, change)

    def start(self) -> None:
        """See ``Target``: the autoscaler goes on by itself."""
        self._scale(self._environment.replicas.min)

    def stop(self) -> None:
        """See ``Target``: an autoscaler leaves a Deployment alone that was scaled to zero."""
        service = self._required()
        self._remove_all_but({_applied(service)})
        self._scale(0)

    def retire(self) -> tuple[str, ...]:
        """See ``Target``: Kubernetes itself lets pods answer before they end."""
        service = self._client.get("Service", self._name)
        if service is not None and not _applied(service):
            self.delete()
            return ()
        if service is None or marks.state(documents.tags_of({"items": [service]})) != marks.KEPT:
            return ()
        return self._remove_all_but({_applied(service), _selected(service)})

    def left_running(self) -> str | None:
        """See ``Target``."""
        return None

    def delete(self) -> None:
        """See ``Target``: what bootstrap made stays. A removal that is interrupted is known by the
        Service, which goes last and has no release then.
        """
        if self._client.get("Service", self._name) is not None:
            change = {"metadata": {"annotations": {APPLIED: None}}}
            self._client.merge("Service", self._name, change)
        self._remove_all_but(set())
        self._client.delete("Service", self._name)

    def logs(self, *, follow: bool) -> Iterator[str]:
        """See ``Target``: of every pod, one after the other; followed, of the first."""
        pods = self._pods(_applied(self._required()))
        for pod in pods[:1] if follow else pods:
            yield from self._client.log(pod["metadata"]["name"], names.CONTAINER, follow=follow)

    def evidence(self) -> Group | None:
        """See ``Target``."""
        service = self._client.get("Service", self._name)
        if service is None or not _applied(service):
            return None
        name = _applied(service)
        return read_release(self._client, self._name, name, self._pods(name))

    def billing(self) -> str:
        """See ``Target``."""
        return (
            f"the machines of cluster {self._environment.own_cluster.name} bill while they are "
            "there, with pods or without; stopped, the pods are gone; the system pool, the load "
            "balancer and the control plane go on costing"
        )

    def _make(self, document: Document, secrets: Mapping[str, str], check: Check) -> None:
        """Make a release beside what serves; the tags say what is asked for, before it is."""
        name = documents.own_name(document)
        service = self._client.get("Service", self._name)
        if service is None:
            made = documents.live_service(documents.renamed(document, NONE))
            made["metadata"]["annotations"][APPLIED] = name
            self._client.apply(made, check)
        else:
            change = {**_replaced(service, documents.tags_of(document)), APPLIED: name}
            self._client.merge("Service", self._name, {"metadata": {"annotations": change}}, check)
        for each in documents.of_release(document):
            self._client.apply(_with_values(each, secrets), check)

    def _point(self, name: str, tags: Mapping[str, str]) -> None:
        service = self._required()
        change = {
            "metadata": {"annotations": {**_replaced(service, tags), APPLIED: name}},
            "spec": {"selector": {RELEASE_LABEL: name}},
        }
        self._client.merge("Service", self._name, change)

    def _scale(self, pods: int) -> None:
        name = _applied(self._required())
        self._client.merge("Deployment", name, {"spec": {"replicas": pods}})

    def _remove_all_but(self, needed: set[str]) -> tuple[str, ...]:
        removed = []
        for kind in OF_RELEASE:
            for each in self._client.list(kind, {NAME_LABEL: self._name}):
                name = each["metadata"]["name"]
                if each["metadata"]["labels"].get(RELEASE_LABEL, name) not in {*needed, self._name}:
                    self._client.delete(kind, name)
                    removed += [name] if kind == "Deployment" else []
        return tuple(removed)

    def _objects(self, name: str) -> list[Object]:
        """What belongs to a release, in the order of a document."""
        order = (
            "Secret",
            "Service",
            "Deployment",
            "HorizontalPodAutoscaler",
            "PodDisruptionBudget",
        )
        found = (self._client.get(kind, name) for kind in order) if name else ()
        return [each for each in found if each is not None]

    def _pods(self, name: str) -> list[Object]:
        labels = {NAME_LABEL: self._name, RELEASE_LABEL: name}
        return self._client.list("Pod", labels) if name else []

    def _address(self) -> str | None:
        """That of the gateway's load balancer, which is a Service of the same namespace."""
        if self._environment.host is not None:
            return f"https://{self._environment.host}"
        gateway = self._client.get("Service", f"{self._name}-approuting-istio")
        status = ((gateway or {}).get("status") or {}).get("loadBalancer") or {}
        for each in status.get("ingress") or []:
            if host := each.get("hostname") or each.get("ip"):
                return f"http://{host}"
        return None

    def _required(self) -> Object:
        service = self._client.get("Service", self._name)
        if service is None:
            raise EngineError(f"there is no {self.what}", f"make it: {_DEPLOY}")
        return service


def _applied(service: Object) -> str:
    return str((service["metadata"].get("annotations") or {}).get(APPLIED) or "")


def _selected(service: Object) -> str:
    return str((service["spec"].get("selector") or {}).get(RELEASE_LABEL) or NONE)


def _replaced(service: Object, tags: Mapping[str, str]) -> dict[str, Any]:
    """Annotations as a merge patch: exactly these tags, and what others have set stays."""
    there = service["metadata"].get("annotations") or {}
    gone = dict.fromkeys(key for key in there if key.startswith(TAG_PREFIX))
    return {**gone, **annotations_of(tags)}


def _with_values(each: Object, secrets: Mapping[str, str]) -> Object:
    """The same object with the values of its secrets.

    Raises:
        EngineError: a secret has no value.
    """
    if each["kind"] != "Secret":
        return each
    missing = [key for key in each["stringData"] if key not in secrets]
    if missing:
        raise EngineError(
            f"the secret {missing[0]} has no value", f"set {missing[0]} where the deploy runs"
        )
    return {**each, "stringData": {key: secrets[key] for key in each["stringData"]}}
