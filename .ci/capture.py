"""Checks the files for perigee capture as far as their text goes.

Unit and DaemonSet grant the same capabilities and run the same command. Prints the ConfigMap's file.
"""

import sys
from pathlib import Path

import yaml

# decisions 38: no CAP_SYS_ADMIN among them.
CAPABILITIES = ["BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH", "SYSLOG", "CHECKPOINT_RESTORE"]


def main(unit: Path, manifest: Path) -> None:
    settings = [line.partition("=") for line in unit.read_text().splitlines()]
    settings = {name: value for name, _, value in settings}
    granted = " ".join(f"CAP_{name}" for name in CAPABILITIES)
    for name in ("AmbientCapabilities", "CapabilityBoundingSet"):
        assert settings[name] == granted, f"{name}={settings[name]}"

    config, daemons = yaml.safe_load_all(manifest.read_text())
    assert (config["kind"], daemons["kind"]) == ("ConfigMap", "DaemonSet")
    pod = daemons["spec"]["template"]
    assert daemons["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
    assert pod["spec"]["hostPID"] is True
    (container,) = pod["spec"]["containers"]
    assert " ".join(container["command"]) == settings["ExecStart"], container["command"]
    security = container["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"], "add": CAPABILITIES}, security
    assert "privileged" not in security and security["allowPrivilegeEscalation"] is False, security
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    for mount in container["volumeMounts"]:
        assert mount["name"] in volumes, mount
    assert volumes["config"]["configMap"]["name"] == config["metadata"]["name"]
    (name,) = config["data"]
    assert container["command"][-1] == f"/etc/perigee/{name}"
    file = config["data"][name]
    (port,) = container["ports"]
    listen = yaml.safe_load(file)["capture"]["metrics"]["listen"]
    assert listen == f":{port['containerPort']}", listen
    print(file, end="")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
