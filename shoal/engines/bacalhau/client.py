"""The engine's HTTP API: one method per call that shoal makes, every way to fail distinguished."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel

from shoal import untrusted
from shoal.engines.bacalhau.models import (
    Acted,
    EngineNode,
    Job,
    JobList,
    JobView,
    NodeList,
    Refusal,
    StoredJob,
    Submitted,
    VersionInfo,
)
from shoal.errors import ShoalError
from shoal.untrusted import Bounds, DamagedDocumentError

TIMEOUT_S = 35.0
"""The engine gives a handler 30 s."""
PAGE = 1000
PAGES_MOST = 20
"""Of the jobs of one run; an orchestrator that goes on and on is not what it should be."""
BOUNDS = Bounds(size_bytes=64 << 20, marks=2_000_000, text_chars=1 << 20, digits=20)
"""Of an answer: a page of jobs, each with its specification; times are nanoseconds, of 19 digits."""
AMBIGUOUS = "MultipleNodesFound"
"""A refusal's code: several nodes have the name that was given, or begin with it."""
DONE_BEFORE = "ConflictNodeState"
"""A refusal's code: the node is approved already."""

_T = TypeVar("_T", bound=BaseModel)


MESSAGE_CHARS = 1000
"""So much of what the orchestrator says goes into a message for a person."""


class EngineError(ShoalError):
    """The orchestrator answered with an error, or with something that is not its API.

    `transient` where it may answer otherwise later: too many requests, or a fault of its own.
    """

    def __init__(self, message: str, *, status: int = 0, code: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.transient = status == httpx.codes.TOO_MANY_REQUESTS or httpx.codes.is_server_error(status)
        self.code = code
        """The engine's own word for the fault; one HTTP status stands for several."""


class EngineSilentError(EngineError):
    """The orchestrator cannot be reached now; it may answer later."""

    def __init__(self, message: str, *, status: int = 0, hint: str | None = None) -> None:
        super().__init__(message, status=status, hint=hint)
        self.transient = True


class NoSuchJobError(EngineError):
    """The orchestrator does not know the job: it never had it, or its disk was lost."""


class NameTakenError(EngineError):
    """A job of that name is there already."""

    def __init__(self, message: str, *, status: int = 0, hint: str | None = None) -> None:
        super().__init__(message, status=status, hint=hint)
        self.transient = False  # whatever its status says


class Endpoint:
    """Where the API answers and with what it is asked: an address, or a Unix socket that leads to it."""

    def __init__(self, api_key: str, *, address: str = "127.0.0.1:1234", socket: Path | None = None) -> None:
        self.address = address
        self.socket = socket
        self.headers = {"Authorization": f"Bearer {api_key}"}

    def ensure(self) -> None:
        """Have the way open; called before every request. Raises EngineSilentError."""

    def close(self) -> None:
        """Let go of the way."""

    def __repr__(self) -> str:
        return f"Endpoint({self.address}, {self.socket})"  # never the key


class BacalhauClient:
    """Calls of /api/v1. Every method raises EngineSilentError where nothing answers and EngineError for refusals."""

    def __init__(self, endpoint: Endpoint, *, timeout_s: float = TIMEOUT_S) -> None:
        self.endpoint = endpoint
        transport = httpx.HTTPTransport(uds=str(endpoint.socket)) if endpoint.socket else None
        # trust_env: a proxy of the machine's has no business between shoal and its own cluster.
        self._http = httpx.Client(
            base_url=f"http://{endpoint.address}/api/v1",
            headers=endpoint.headers,
            timeout=timeout_s,
            transport=transport,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections and of the way there."""
        self._http.close()
        self.endpoint.close()

    def alive(self) -> bool:
        """Whether the orchestrator answers. Says nothing about keys: this one call is open to all."""
        try:
            self._request("GET", "/agent/alive")
        except EngineError:
            return False
        return True

    def version(self) -> str:
        """The orchestrator's version, `v1.9.3`."""
        return self._ask(VersionInfo, "GET", "/agent/version").git_version

    def submit(self, job: dict[str, Any]) -> Submitted:
        """Hand in a job. Raises NameTakenError where its name is in use: the engine would take it for an update."""
        return self._ask(Submitted, "PUT", "/orchestrator/jobs", json={"Job": job})

    def job(self, job_id: str) -> JobView:
        """A job and all its executions. Raises NoSuchJobError."""
        return self._ask(JobView, "GET", f"/orchestrator/jobs/{job_id}", params={"include": "executions"})

    def job_document(self, job_id: str) -> dict[str, Any]:
        """A job as it was handed in, with what the engine added to it. Raises NoSuchJobError."""
        return self._ask(StoredJob, "GET", f"/orchestrator/jobs/{job_id}").job

    def jobs_labelled(self, key: str, value: str) -> list[Job]:
        """All jobs with that label. Raises EngineError where there are more than PAGES_MOST pages of them."""
        params = {"labels": f"{key}={value}", "limit": str(PAGE)}
        found: list[Job] = []
        for _ in range(PAGES_MOST):
            page = self._ask(JobList, "GET", "/orchestrator/jobs", params=params)
            found += page.items
            if not page.next_token:
                return found
            params["next_token"] = page.next_token
        raise EngineError(f"the orchestrator lists jobs without end: {PAGES_MOST} pages of them, and still more")

    def live_jobs(self) -> list[Job]:
        """Jobs that are not over, among the latest PAGE ones."""
        params = {"limit": str(PAGE), "order_by": "created_at", "reverse": "true"}
        page = self._ask(JobList, "GET", "/orchestrator/jobs", params=params)
        return [job for job in page.items if not job.state.state_type.over]

    def stop(self, job_id: str, reason: str) -> None:
        """Ask for the end of a job's executions. Asking again is no error; raises NoSuchJobError."""
        self._request("DELETE", f"/orchestrator/jobs/{job_id}", params={"reason": reason})

    def nodes(self) -> list[EngineNode]:
        """Every node that the orchestrator knows, itself among them."""
        return self._ask(NodeList, "GET", "/orchestrator/nodes").nodes

    def act(self, node: str, action: str, message: str) -> None:
        """`approve` or `delete` a node. (`reject` kills what runs there, and is never used.)

        The engine takes `node` for the beginning of a name, and an exact one is not preferred: with several hits it
        refuses (code AMBIGUOUS), with one hit it takes that, whatever its name.
        `shoal.fleet.engine_list` makes it exact.
        """
        body = {"Action": action, "Message": message, "NodeID": node}
        answer = self._ask(Acted, "PUT", f"/orchestrator/nodes/{node}", json=body)
        if not answer.success:
            raise EngineError(f"the orchestrator did not {action} node {node}: {answer.error}")

    def _ask(self, model: type[_T], method: str, path: str, **more: Any) -> _T:
        answer = self._request(method, path, **more)
        try:
            return untrusted.document(answer, model, source="it", bounds=BOUNDS)
        except DamagedDocumentError as error:
            why = error.faults[0] if error.faults else error.message
            raise EngineError(
                f"the orchestrator's answer to {method} {path} is not what its API promises ({why})",
                hint="shoal speaks to Bacalhau 1.9; check the version on the requester",
            ) from None

    def _request(self, method: str, path: str, **more: Any) -> bytes:
        self.endpoint.ensure()
        content = bytearray()
        try:
            with self._http.stream(method, path, **more) as answer:
                for chunk in answer.iter_bytes():
                    content += chunk
                    if len(content) > BOUNDS.size_bytes:
                        raise EngineError(
                            f"the orchestrator's answer to {method} {path} is larger than {BOUNDS.size_bytes} bytes"
                        )
        except httpx.TransportError as error:
            raise EngineSilentError(f"the orchestrator does not answer ({_plain(error)})") from None
        except httpx.DecodingError as error:
            raise EngineError(f"the orchestrator's answer to {method} {path} cannot be unpacked ({error})") from None
        if answer.is_success:
            return bytes(content)
        raise refusal(answer.status_code, bytes(content), f"{method} {path}")


def refusal(status: int, content: bytes, call: str) -> EngineError:
    """The error that an answer stands for."""
    try:
        said = untrusted.document(content, Refusal, source="the refusal", bounds=BOUNDS)
    except DamagedDocumentError:
        said = Refusal(message=content.decode(errors="replace").strip())
    said = said.model_copy(update={"message": said.message[:MESSAGE_CHARS]})
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        why = (said.details or {}).get("reason", said.message)
        return EngineError(
            f"the orchestrator refuses our key ({why})",
            status=status,
            hint="the key and the requester's configuration differ: run the site deploy again",
        )
    if status == httpx.codes.NOT_FOUND and said.component == "JobStore":
        return NoSuchJobError(f"the orchestrator does not know the job ({said.message})", status=status)
    if "no changes detected" in said.message:
        return NameTakenError(f"the orchestrator has a job of that name already ({said.message})", status=status)
    if status in (httpx.codes.BAD_GATEWAY, httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT):
        return EngineSilentError(f"the orchestrator is not ready (HTTP {status}: {said.message})", status=status)
    return EngineError(
        f"the orchestrator refused {call} (HTTP {status}: {said.message})", status=status, code=said.code
    )


def _plain(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__
