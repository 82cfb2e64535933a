"""The stand-in as the engine sees it: Pulumi's provider protocol over gRPC."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from tests.stacks.standin.cloud import INSTANCE, Cloud, CloudError
from tests.stacks.standin.fields import UnknownFieldError, changes
from tests.stacks.standin.names import UNKNOWN, faults

CLOUD_VARIABLE = "SHOAL_TEST_CLOUD"
VERSION = "10.2.0"
AS_PERSON = "SHOAL_TEST_AS_PERSON"
"""Set where the provider logs in with a person's credentials, which have no project of their own."""
NO_QUOTA_PROJECT = (
    "Error 403: Your application is authenticating by using local Application Default Credentials. The"
    " iap.googleapis.com API requires a quota project, which is not set by default."
)


class StandIn(provider_pb2_grpc.ResourceProviderServicer):
    """Keeps what it is given and refuses what the SDK does not know."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.project = ""
        self.billed: str | None = None
        """The project whose quota requests count against; the vendor's provider takes it from its settings only."""

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        return plugin_pb2.PluginInfo(version=VERSION)

    def CheckConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.project = request.variables.get("gcp:config:project", "")
        override = request.variables.get("gcp:config:userProjectOverride") == "true"
        self.billed = request.variables.get("gcp:config:billingProject") if override else None
        return provider_pb2.ConfigureResponse(acceptSecrets=False, supportsPreview=True, acceptOutputs=False)

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = faults(_token(request.urn), _plain(request.news))
        failures = [provider_pb2.CheckFailure(property=where, reason=why) for where, why in found]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    def Diff(self, request: Any, context: Any) -> Any:  # noqa: N802
        token = _token(request.urn)
        olds, old_inputs, news = _plain(request.olds), _plain(request.old_inputs), _plain(request.news)
        try:
            found = changes(token, old_inputs, news)
        except UnknownFieldError as unknown:
            context.abort(grpc.StatusCode.UNKNOWN, f"the table of the provider's fields lacks {unknown}")
        # What is ignored was set back by the engine before it asks.
        changed = sorted({change.path.partition(".")[0] for change in found})
        # A machine that does not run is started where the settings want it running. Whether the vendor's provider
        # lets the engine see that is not known here: `blind` is the worse case.
        wanted = news.get("desiredStatus")
        stopped = token == INSTANCE and wanted and olds.get("currentStatus", wanted) != wanted
        if stopped and not self.cloud.planned("blind"):
            changed.append("desiredStatus")
        some = provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE
        return provider_pb2.DiffResponse(
            changes=some, diffs=changed, replaces=sorted({change.path for change in found if change.replaces})
        )

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        inputs, token = _plain(request.properties), _token(request.urn)
        if request.preview:
            return provider_pb2.CreateResponse(properties=_struct({**inputs, **_computed(token)}))
        if token.startswith("gcp:iap/") and not self.billed and os.environ.get(AS_PERSON):
            context.abort(grpc.StatusCode.UNKNOWN, NO_QUOTA_PROJECT)
        key, properties = _answered(context, lambda: self.cloud.create(token, inputs, self.project))
        return provider_pb2.CreateResponse(id=key, properties=_struct(properties))

    def Read(self, request: Any, context: Any) -> Any:  # noqa: N802
        properties = self.cloud.things().get(request.id)
        if properties is None:
            return provider_pb2.ReadResponse()
        # Inputs follow what was edited by hand; without old inputs (an import) they are what is there.
        known = set(_plain(request.inputs)) or set(properties)
        inputs = {key: value for key, value in properties.items() if key in known}
        for interface in inputs.get("networkInterfaces", []):
            interface.pop("networkIp", None)
        return provider_pb2.ReadResponse(
            id=request.id, properties=_struct(self.cloud.things()[request.id]), inputs=_struct(inputs)
        )

    def Update(self, request: Any, context: Any) -> Any:  # noqa: N802
        inputs = _plain(request.news)
        if request.preview:
            return provider_pb2.UpdateResponse(properties=_struct({**_plain(request.olds), **inputs}))
        properties = _answered(context, lambda: self.cloud.update(request.id, inputs))
        return provider_pb2.UpdateResponse(properties=_struct(properties))

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        _answered(context, lambda: self.cloud.delete(request.id))
        return empty_pb2.Empty()

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802
        return empty_pb2.Empty()


def serve() -> None:
    """Serve until the engine that started this process is gone."""
    server = grpc.server(ThreadPoolExecutor(max_workers=32))
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(StandIn(Cloud(Path(os.environ[CLOUD_VARIABLE]))), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    server.wait_for_termination()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.1)
    os._exit(0)


def _token(urn: str) -> str:
    return urn.split("::")[2].rpartition("$")[2]


def _computed(token: str) -> dict[str, str]:
    return {"email": UNKNOWN, "name": UNKNOWN} if token.endswith(":Account") else {}


def _answered(context: Any, work: Callable[[], Any]) -> Any:
    try:
        return work()
    except CloudError as refused:
        context.abort(grpc.StatusCode.UNKNOWN, str(refused))


def _plain(struct: Any) -> dict[str, Any]:
    return {key: _whole(value) for key, value in json_format.MessageToDict(struct).items()}


def _whole(value: Any) -> Any:
    """Numbers travel as floats; whole ones are told as whole."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_whole(inner) for inner in value]
    return value


def _struct(values: dict[str, Any]) -> Any:
    return json_format.ParseDict(values, struct_pb2.Struct())


if __name__ == "__main__":
    serve()
