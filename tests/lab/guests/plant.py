"""A site of gateways that have an owner, made of lab nodes: what lives on them and what they look like."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

from shoal.cluster import document as clusters
from shoal.cluster import reach as reaches
from shoal.cluster.document import Cluster
from shoal.deploys.run import DeployResult, run_deploy
from shoal.ssh import client as ssh
from shoal.telling import to_stderr

FILES = Path(__file__).parent / "files"
CLIP = "clip.mp4"


@dataclass(frozen=True)
class Plant:
    """The gateways as a person on the control machine sees them."""

    cluster: Cluster
    document: Path

    def on(self, node: str, script: str) -> str:
        """Output of a shell script that root runs there; it must succeed."""
        return ssh.run(self.cluster, self.cluster.node(node), "sh", "-c", script, root=True, timeout_s=300).text

    def holds(self, node: str, condition: str) -> bool:
        """Whether a shell condition holds there."""
        return self.on(node, f"if {condition}; then echo yes; fi") == "yes"

    def file(self, node: str, name: str) -> str:
        """Run one of the programs under files/ there."""
        return self.on(node, (FILES / name).read_text(encoding="utf-8"))

    def inventory(self, node: str) -> set[str]:
        """All that a deploy could change on the machine."""
        return set(self.file(node, "inventory.sh").splitlines())

    def deploy(self, what: str = "site", **options) -> DeployResult:
        """One deploy of the whole plant, or of what `limit` names."""
        return run_deploy(reaches.load(self.document), what, say=to_stderr, timeout_s=800, **options)


def changed(result: DeployResult) -> list[str]:
    """Operations that did something, with the hosts."""
    return [f"{operation.name}: {', '.join(operation.changed)}" for operation in result.operations if operation.changed]


def registered(lab: Cluster, name: str, folder: Path, nodes: tuple[str, ...], engine: str = "ssh") -> Plant:
    """The lab's nodes as gateways of an owner: the same machines, and a document of substrate `onprem`."""
    entries = [node.model_dump(mode="json", exclude_none=True) for node in lab.nodes if node.name in nodes]
    document = lab.model_dump(mode="json", exclude_none=True)
    document |= {"name": name, "substrate": "onprem", "nodes": entries, "engine": engine}
    cluster = Cluster.model_validate(document)
    path = folder / "cluster.json"
    clusters.save(cluster, path)
    return Plant(cluster, path)


def site_document(plant: Plant, folder: Path) -> Path:
    """One little clip for each compute node, and a stand-in for a model."""
    videos = {}
    for node in plant.cluster.compute:
        path = folder / f"{node.name}.mp4"
        path.write_bytes(f"clip of {node.name}".encode() * 1000)
        videos[node.name] = [entry(path, CLIP), entry(path, "sub/b.mp4")]
    model = folder / "model.onnx"
    model.write_bytes(b"stand-in" * 1000)
    document: dict[str, object] = {
        "cluster": plant.cluster.name,
        "videos": videos,
        "weights": [{"path": str(model), "sha256": sha256(model), "name": "stand-in"}],
    }
    document["image"] = {"image_tarball": str(finished_image(folder))}
    path = folder / "site.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def finished_image(folder: Path) -> Path:
    """A finished image as `docker save` writes it: one file in one layer. Building a real one is others' test."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        add(tar, "stand-in", b"stand-in for the detector")
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/stand-in"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": ["stand-in/detector:1"], "Layers": ["layer.tar"]}]
    path = folder / "image.tar"
    with tarfile.open(path, "w") as tar:
        add(tar, "config.json", json.dumps(config).encode())
        add(tar, "layer.tar", layer.getvalue())
        add(tar, "manifest.json", json.dumps(manifest).encode())
    return path


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def entry(path: Path, name: str) -> dict[str, object]:
    return {"name": name, "path": str(path), "sha256": sha256(path), "size_bytes": path.stat().st_size}
