"""Tables of a Log Analytics workspace that the queries use, with the columns that Azure documents.

Sources: Azure Monitor's table reference (MicrosoftDocs/azure-reference-other), and for the tables
of the integration by key the monitoring reference of Container Instances (2025-11-17) and the log
page of Container Apps; Container insights sends the tables of Kubernetes.
"""

from __future__ import annotations

_APP = (
    "TimeGenerated: datetime, AppRoleInstance: string, AppRoleName: string, AppVersion: string, "
    "ItemCount: int, OperationId: string, OperationName: string, ParentId: string, "
    "Properties: dynamic, _ResourceId: string"
)

TABLES = {
    "ContainerInstanceLog_CL": "(TimeGenerated: datetime, Message: string, ContainerGroup_s: "
    "string, ContainerID_s: string, ContainerImage_s: string, Location_s: string, Source_s: "
    "string, ResourceGroup: string, _ResourceId: string)",
    "ContainerEvent_CL": "(TimeGenerated: datetime, Message: string, ContainerGroup_s: string, "
    "ContainerName_s: string, Count_d: real, FirstTimestamp_t: datetime, Reason_s: string, "
    "Location_s: string, ResourceGroup: string, _ResourceId: string)",
    "ContainerInstanceLog": "(TimeGenerated: datetime, Message: string, ContainerGroup: string, "
    "ContainerID: string, ContainerImage: string, ContainerName: string, Location: string, "
    "OSType: string, Source: string, _ResourceId: string)",
    "ContainerEvent": "(TimeGenerated: datetime, Message: string, ContainerGroup: string, "
    "ContainerGroupInstanceID: string, ContainerID: string, ContainerName: string, Count: int, "
    "Reason: string, Location: string, OSType: string, _ResourceId: string)",
    "ContainerAppConsoleLogs_CL": "(TimeGenerated: datetime, Log_s: string, ContainerAppName_s: "
    "string, ContainerGroupName_s: string, ContainerName_s: string, RevisionName_s: string, "
    "Stream_s: string, EnvironmentName_s: string)",
    "ContainerAppSystemLogs_CL": "(TimeGenerated: datetime, Log_s: string, ContainerAppName_s: "
    "string, Reason_s: string, ReplicaName_s: string, RevisionName_s: string, Type_s: string, "
    "Count_d: real, EnvironmentName_s: string)",
    "ContainerAppConsoleLogs": "(TimeGenerated: datetime, Log: string, ContainerAppName: string, "
    "ContainerGroupName: string, ContainerName: string, RevisionName: string, Stream: string, "
    "_ResourceId: string)",
    "ContainerAppSystemLogs": "(TimeGenerated: datetime, Log: string, ContainerAppName: string, "
    "Reason: string, ReplicaName: string, RevisionName: string, Count: int, Type: string)",
    "ContainerLogV2": "(TimeGenerated: datetime, Computer: string, ContainerId: string, "
    "ContainerName: string, KubernetesMetadata: dynamic, LogLevel: string, LogMessage: dynamic, "
    "LogSource: string, PodName: string, PodNamespace: string, _ResourceId: string)",
    "KubePodInventory": "(TimeGenerated: datetime, ClusterId: string, ClusterName: string, "
    "Computer: string, ContainerID: string, ContainerLastStatus: string, ContainerName: string, "
    "ContainerRestartCount: int, ContainerStartTime: datetime, ContainerStatus: string, "
    "ContainerStatusReason: string, ControllerKind: string, ControllerName: string, Name: string, "
    "Namespace: string, PodCreationTimeStamp: datetime, PodRestartCount: int, PodStatus: string, "
    "PodUid: string, _ResourceId: string)",
    "KubeEvents": "(TimeGenerated: datetime, ClusterId: string, ClusterName: string, Computer: "
    "string, Count: real, FirstSeen: datetime, KubeEventType: string, LastSeen: datetime, "
    "Message: string, Name: string, Namespace: string, ObjectKind: string, Reason: string, "
    "SourceComponent: string, _ResourceId: string)",
    "AppRequests": f"({_APP}, Id: string, Name: string, DurationMs: real, ResultCode: string, "
    "Success: bool, Url: string)",
    "AppMetrics": f"({_APP}, Name: string, Sum: real, Min: real, Max: real)",
    "AppTraces": f"({_APP}, Message: string, SeverityLevel: int)",
    "AppExceptions": f"({_APP}, ExceptionType: string, OuterMessage: string, OuterType: string, "
    "Details: dynamic, SeverityLevel: int)",
    "Usage": "(TimeGenerated: datetime, DataType: string, IsBillable: bool, Quantity: real, "
    "QuantityUnit: string, Solution: string)",
}

ALWAYS = frozenset({"Usage"})
"""Every workspace has it; the others are there from their first row on."""
