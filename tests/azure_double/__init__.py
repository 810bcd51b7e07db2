"""A strict local double of the parts of Azure and GitHub that a deployment touches.

The real `az`, `gh`, `docker` and whatever else honours HTTPS_PROXY talk to it without a patch: its
forward proxy ends TLS for Azure's and GitHub's host names with certificates of its own, passes
requests for container groups and apps on to containers, and refuses every other host.

    launch        puts the parts together        client        what tests use
    az            the real `az`, forked from a process that has imported it (az_server, az_launcher)
    proxy, connection, listen, forward, tls, wire, hosts        the network
    entra         logins                         graph         the directory
    arm/          what all resource providers share: store, access, routes, operations
    providers/    the resource providers
    registry/     the data plane of a container registry, in front of a real one
    engine        containers on Docker
    github/       the REST API, and the issuer of jobs' tokens
    faults        failures that tests plan       requestlog    what reached the double
    control       what tests ask of the double itself

Whatever is not modelled is answered 501, never with a 200 that would hide a wrong request.
"""
