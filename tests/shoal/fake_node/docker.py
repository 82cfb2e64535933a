"""Stands in for the docker client of one node. A container is a folder; `detector` beside this file is its process.

What the node is like stands in <node>/docker.json: cpus, memory, images {reference: arch}, down (an error text).
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

node = Path(os.environ["FAKE_NODE"])
settings = json.loads((node / "docker.json").read_text())
containers = node / "containers"
verb, *rest = sys.argv[1:]


def fail(text, code=1):
    sys.stderr.write(text + "\n")
    sys.exit(code)


def load(name):
    try:
        return json.loads((containers / name / "container.json").read_text())
    except FileNotFoundError:
        fail(f"Error: No such container: {name}")


def state(name):
    folder = containers / name
    seen = load(name)
    if not (folder / "exit").exists():
        return {**seen["State"], "Status": "running", "ExitCode": 0, "OOMKilled": False}
    return {
        **seen["State"],
        "Status": "exited",
        "ExitCode": int((folder / "exit").read_text()),
        "OOMKilled": (folder / "oom").exists(),
    }


def values(flag):
    return [rest[index + 1] for index, word in enumerate(rest) if word == flag]


def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\n")


def main():
    if settings.get("down"):
        fail(settings["down"])
    {"info": info, "image": image, "run": run, "ps": ps, "wait": wait, "inspect": inspect, "logs": logs, "stop": stop,
     "rm": remove, "events": events, "pull": pull}[verb]()  # fmt: skip


def info():
    say(settings["cpus"], settings["memory"])


def image():
    arch = settings["images"].get(rest[-1])
    say(arch) if arch else fail(f"Error: No such image: {rest[-1]}")


def pull():
    """From the site's registry: `registry` of docker.json, {reference: arch}."""
    arch = settings.get("registry", {}).get(rest[-1])
    if not arch:
        fail(f"Error response from daemon: manifest for {rest[-1]} not found")
    settings["images"][rest[-1]] = arch
    (node / "docker.json").write_text(json.dumps(settings))
    say(rest[-1])


def ps():
    kind, _, label = values("--filter")[0].partition("=")
    if kind == "name":
        say("0" * 64)
        return
    for folder in sorted(containers.glob("*")):
        if label in json.loads((folder / "container.json").read_text())["labels"]:
            say(folder.name)


def events():
    """Oldest first: what the detector beside this file said of the container's end, then the end itself."""
    name = values("--filter")[1].removeprefix("container=")
    said = containers / name / "events"
    for line in [*(said.read_text().splitlines() if said.exists() else []), "die"]:
        word, _, signal_number = line.partition(" ")
        say(word, "0" * 64, signal_number)


def wait():
    while state(rest[-1])["Status"] == "running":
        time.sleep(0.05)
    say(state(rest[-1])["ExitCode"])


def stop():
    if state(rest[-1])["Status"] == "running":
        os.kill(load(rest[-1])["pid"], signal.SIGTERM)
        wait()


def remove():
    if state(rest[-1])["Status"] == "running":
        fail("You cannot remove a running container")
    shutil.rmtree(containers / rest[-1])


def run():
    name = values("--name")[0]
    folder = containers / name
    if folder.exists():
        fail(f'docker: Conflict. The container name "/{name}" is already in use', 125)
    image = next(word for word in rest if word in settings["images"])
    words = rest[rest.index(image) + 1 :]
    mounts = {}
    for mount in values("--mount"):
        fields = dict(part.partition("=")[::2] for part in mount.split(","))
        if not Path(fields["source"]).is_dir():
            fail(f"docker: invalid mount: {fields['source']} does not exist", 125)
        mounts[fields["target"].removeprefix(str(node))] = fields["source"]
    folder.mkdir(parents=True)
    (folder / "log").touch()
    process = subprocess.Popen(
        [sys.executable, "-IS", str(Path(__file__).parent / "detector.py"), str(folder), json.dumps(mounts), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    document = {
        "pid": process.pid,
        "labels": values("--label"),
        "argv": rest,
        "State": {"StartedAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z"), "Error": ""},
    }
    (folder / "container.json.part").write_text(json.dumps(document))
    (folder / "container.json.part").rename(folder / "container.json")
    say("0" * 64)


def inspect():
    form = values("--format")[0]
    for name in rest[rest.index("--format") + 2 :]:
        seen = load(name)
        if form == "{{json .State}}":
            say(json.dumps(state(name)))
        elif form == "{{.State.Status}}":
            say(state(name)["Status"])
        else:
            labels = dict(pair.split("=", 1) for pair in seen["labels"])
            say(labels["shoal.attempt"], labels["shoal.timeout-s"], seen["State"]["StartedAt"])


def logs():
    name = rest[-1]
    since = (values("--since") or [""])[0]
    with (containers / name / "log").open() as stream:
        while True:
            over = state(name)["Status"] != "running"
            for line in stream:
                stamp, _, text = line.partition(" ")
                if stamp >= since:
                    sys.stdout.write(line if "--timestamps" in rest else text)
            sys.stdout.flush()
            if over or "--follow" not in rest:
                return
            time.sleep(0.05)


main()
