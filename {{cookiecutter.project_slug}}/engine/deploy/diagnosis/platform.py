"""What Azure Resource Manager and the resource providers refuse: quota, capacity, names, roles."""

from __future__ import annotations

from engine.deploy.diagnosis.evidence import Evidence
from engine.deploy.diagnosis.sentences import TIMEOUT, Sentence, in_texts, pattern
from engine.deploy.finding import Certainty, Finding

BOOTSTRAP = "run `.venv/bin/python -m engine.deploy bootstrap` as an owner of the subscription"

TABLE = (
    Sentence(
        "gpu-quota",
        pattern(r"quota '(?P<sku>[KPV]\d+)Cores' exceeded"),
        "a {sku} GPU was asked for; Azure Container Instances have had none since 2025-07-14",
        "set gpu: none, or target: containerapps with gpu: t4 or a100",
        explains=frozenset({"quota", "capacity"}),
    ),
    Sentence(
        "quota",
        pattern(
            r"ContainerGroupQuotaReached(.*?quota '(?P<what>\w+)' exceeded in region "
            r"'(?P<region>[\w-]+)'\.? Limit: '(?P<limit>\d+)',? Usage: '(?P<usage>\d+)',?"
            r" Requested: '(?P<asked>\d+)')?"
        ),
        "the subscription's quota {what} in {region} is used up: limit {limit}, in use {usage}, "
        "asked for {asked}",
        "stop what is not needed (`.venv/bin/python -m engine.deploy stop staging`), or have the "
        "quota raised: Azure portal, Help + support, service and subscription limits",
    ),
    Sentence(
        "quota-rate",
        pattern(r"TooManyRequests|ResourceRequestsThrottled|SubscriptionRequestsThrottled"),
        "Azure limits how often something may be created or asked, and the limit is reached",
        "wait some minutes, then run the same command again",
    ),
    Sentence(
        "capacity",
        pattern(
            r"requested resource (with .*? )?is not available in the location '(?P<region>[\w -]+)'"
        ),
        "{region} has no room for a container group of this size at this moment",
        "run it again in some minutes, ask for less cpu and memory, or take another region",
    ),
    Sentence(
        "label-taken",
        pattern(
            r"(DnsNameLabel(Already|Not)\w+.*?)?DNS name label '(?P<label>[\w-]+)'.{0,120}?"
            r"not available|DnsNameLabel(AlreadyTaken|NotAvailable)"
        ),
        "the DNS label {label} belongs to somebody else in this region",
        "set another dns.label in deploy/environments, or a dns.reuse that puts a hash into the "
        "address (all but Unsecure)",
    ),
    Sentence(
        "transitioning",
        pattern(r"ContainerGroupTransitioning|is still transitioning"),
        "Azure is still busy with an earlier change of the container group",
        "wait some minutes and run it again; if it stays so, `.venv/bin/python -m engine.deploy "
        "stop` and then `start`, at last `down` and `up`, or a support request",
    ),
    Sentence(
        "immutable",
        pattern(r"updates on container group '(?P<name>[\w-]+)' are invalid.*delete it first"),
        "a property was changed that a container group cannot change while it exists (os type, "
        "cpu, memory, GPU, restart policy, network)",
        "`.venv/bin/python -m engine.deploy up` deletes and creates it; it does not serve "
        "meanwhile",
    ),
    Sentence(
        "provider",
        pattern(
            r"(not registered to use namespace|MissingSubscriptionRegistration.*?) "
            r"'(?P<namespace>[\w.]+)'"
        ),
        "the subscription does not use {namespace} yet",
        "register it once, as an owner: `az provider register --namespace {namespace} --wait`, or "
        "run `.venv/bin/python -m engine.deploy bootstrap`",
    ),
    Sentence(
        "linked-role",
        pattern(
            r"LinkedAuthorizationFailed(.*?to perform action '(?P<action>[\w./]+)' on the linked "
            r"scope\(s\) '(?P<scope>[^']+)')?"
        ),
        "this login may not hand the runtime identity to the service: {action} on {scope}",
        f"give it the role Managed Identity Operator on that identity: {BOOTSTRAP}",
        explains=frozenset({"role"}),
    ),
    Sentence(
        "role",
        pattern(
            r"AuthorizationFailed.*?to perform action '(?P<action>[\w./]+)' over scope "
            r"'(?P<scope>[^']+)'"
        ),
        "this login may not do {action} on {scope}",
        f"{BOOTSTRAP}; a role that was given just now takes some minutes to work",
    ),
    Sentence(
        "policy",
        pattern(r"RequestDisallowedByPolicy"),
        "a policy of the organisation forbids this resource",
        "ask its owners; the evidence names the policy",
    ),
    Sentence(
        "lock",
        pattern(r"ScopeLocked"),
        "a lock on the resource group or the subscription forbids the change",
        "remove the lock: `az lock list --resource-group GROUP`",
    ),
    Sentence(
        "subscription",
        pattern(r"ReadOnlyDisabledSubscription|SubscriptionNotFound|subscription .{0,80}disabled"),
        "the subscription is disabled, or this login does not reach it",
        "`az account show` names it; correct the payment, or `az account set --subscription ID`",
    ),
    Sentence(
        "group-missing",
        pattern(
            r"(ResourceGroupNotFound.*?)?Resource group '(?P<name>[^']+)' could not be found"
            r"|ResourceGroupNotFound"
        ),
        "a resource group is missing: {name}",
        BOOTSTRAP,
    ),
    Sentence(
        TIMEOUT,
        pattern(r"successful provisioning state after '?(?P<after>[\d:]+)'?"),
        "Azure gave up after {after}: the containers never ran; it goes on trying, and bills",
        "the log and the events say what kept them from running; `.venv/bin/python -m "
        "engine.deploy down` removes the group",
        Certainty.LIKELY,
        symptom=True,
    ),
)


def refused(evidence: Evidence) -> list[Finding]:
    """What the table says about every text."""
    return in_texts(TABLE, evidence)


def not_registered(evidence: Evidence) -> list[Finding]:
    """Resource providers that are needed and that nobody has registered, in one finding."""
    if not evidence.unregistered:
        return []
    commands = " and ".join(
        f"`az provider register --namespace {each} --wait`" for each in evidence.unregistered
    )
    return [
        Finding(
            "provider",
            f"the subscription does not use {' and '.join(evidence.unregistered)} yet",
            f"register it once, as an owner: {commands}, or run `.venv/bin/python -m engine.deploy "
            "bootstrap`",
        )
    ]


RULES = (refused, not_registered)
