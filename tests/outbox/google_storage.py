"""A server that speaks Google Cloud Storage's API, and the token server that a service account's key leads to.

The store is fake-gcs-server (`go install github.com/fsouza/fake-gcs-server@v1.56.1`), where this machine has it:
`SHOAL_GCS_SERVER` names it, else it is on the PATH.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from outbox.store import Store
from shoal.site.outbox import NODE_CREDENTIAL, SiteOutbox, rclone_config
from tests.outbox.stores import PROGRAM, free_port

SERVER = os.environ.get("SHOAL_GCS_SERVER") or shutil.which("fake-gcs-server")
ACCOUNT = "node@depot.iam.gserviceaccount.com"


@contextmanager
def serving(folder: Path, bucket: str) -> Iterator[int]:
    """The store with an empty bucket; gives its port when it answers."""
    assert SERVER is not None
    (folder / bucket).mkdir(parents=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    options = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-external-url", url]
    options += ["-public-host", f"127.0.0.1:{port}", "-backend", "memory", "-data", str(folder)]
    with (folder.parent / "gcs.log").open("wb") as log:
        server = subprocess.Popen([SERVER, *options], stdout=log, stderr=log)
        try:
            for _ in range(200):
                assert server.poll() is None, "the server has ended"
                try:
                    urllib.request.urlopen(f"{url}/storage/v1/b/{bucket}", timeout=1).close()
                    break
                except OSError:
                    threading.Event().wait(0.05)
            yield port
        finally:
            server.kill()
            server.wait()


@contextmanager
def tokens(answers: list[tuple[int, dict[str, object]]]) -> Iterator[tuple[int, list[dict[str, object]]]]:
    """A token server: its port, and the claims that it was asked with. `answers` go before the good one."""
    asked: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            del words

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            claims = form["assertion"][0].split(".")[1]
            asked.append(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))))
            good = 200, {"access_token": "t", "token_type": "Bearer", "expires_in": 3600}
            status, document = answers.pop(0) if answers else good
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1], asked
    finally:
        server.shutdown()
        server.server_close()


def store(folder: Path, bucket: str, port: int, token_port: int) -> Store:
    """The store with the configuration that the site writes for a key file; its addresses are the servers' here."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    credential = folder / "key.json"
    credential.write_text(
        json.dumps(
            {
                "type": "service_account",
                "client_email": ACCOUNT,
                "private_key_id": "1",
                "private_key": key.private_bytes(*form).decode(),
                "token_uri": f"http://127.0.0.1:{token_port}/token",
            }
        )
    )
    text = rclone_config(SiteOutbox(to=f"gs:{bucket}/depot", credential_file=credential))
    assert NODE_CREDENTIAL in text
    config = folder / "rclone.conf"
    endpoint = f"endpoint = http://127.0.0.1:{port}/storage/v1/"
    config.write_text(text.replace(NODE_CREDENTIAL, str(credential)) + f"{endpoint}\n")
    return Store(PROGRAM, str(config), f"store:{bucket}/depot")
