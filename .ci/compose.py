"""Checks a compose file as far as its text goes, and prints the gateway's environment.

One NAME=VALUE a line; values hold no blanks.
"""

import sys
from pathlib import Path

import yaml


def main(path: Path) -> None:
    services = yaml.safe_load(path.read_text())["services"]
    for name, service in services.items():
        assert "image" in service, f"{name}: no image"
        for other, wanted in service.get("depends_on", {}).items():
            assert other in services, f"{name}: depends on {other}, which is not there"
            assert wanted == {"condition": "service_healthy"}, f"{name}: {other}: {wanted}"
            assert "healthcheck" in services[other], f"{name}: waits for {other}, which has no check"

    gateway = services["perigee"]
    build = gateway["build"]
    context = (path.parent / build["context"]).resolve()
    assert (context / build["dockerfile"]).is_file(), build
    assert "11800:11800" in gateway["ports"] and "1234:1234" in gateway["ports"], gateway["ports"]
    environment = gateway["environment"]
    for node in environment["SATELLITE_GRPC_CLIENT"].split(","):
        host, port = node.split(":")
        assert host in services and port == "11800", f"{node} is no OAP of this file"
        cluster = services[host]["environment"]
        assert cluster["SW_CLUSTER_INTERNAL_COM_HOST"] == host, f"{host}: {cluster}"
    for name, value in environment.items():
        assert " " not in value, f"{name}: {value!r}"
        print(f"{name}={value}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
