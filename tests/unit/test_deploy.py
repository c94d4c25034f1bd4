"""The files under ``deploy/kubernetes`` and ``deploy/docker``, none of which runs here."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPOSITORY

KUBERNETES = REPOSITORY / "deploy" / "kubernetes"
MANIFESTS = sorted(KUBERNETES.glob("namespace*.yaml"))

# The keys of the charts that the files use: https://gateway.dask.org/install-kube.html (2026.3.0) and
# https://z2jh.jupyter.org/en/stable/resources/reference.html (4). A chart refuses unknown keys, but none runs here.
ANY: dict[str, Any] = {}
TOKEN = {"apiTokenFromSecretName": ANY, "apiTokenFromSecretKey": ANY, "apiUrl": ANY}
CORES = {"request": ANY, "limit": ANY}
IMAGE = {"name": ANY, "tag": ANY, "pullPolicy": ANY}
GATEWAY = {
    "gateway": {
        "prefix": ANY, "loglevel": ANY, "extraConfig": ANY,
        "auth": {
            "type": ANY, "jupyterhub": TOKEN,
        },
        "backend": {
            "image": IMAGE, "environment": ANY, "scheduler": {"cores": CORES, "memory": CORES},
            "worker": {"cores": CORES, "memory": CORES, "threads": ANY},
        },
    },
    "traefik": {"service": {"type": ANY}},
}  # fmt: skip
AMOUNT = {"guarantee": ANY, "limit": ANY}
HUB = {
    "hub": {"config": ANY, "services": ANY},
    "proxy": {"service": {"type": ANY}, "https": {"enabled": ANY, "hosts": ANY, "letsencrypt": {"contactEmail": ANY}}},
    "singleuser": {
        "image": IMAGE, "cmd": ANY, "defaultUrl": ANY, "uid": ANY, "fsGid": ANY, "cpu": AMOUNT, "memory": AMOUNT,
        "storage": {"capacity": ANY, "homeMountPath": ANY}, "extraEnv": ANY,
        "networkPolicy": {"enabled": ANY, "egress": ANY}, "cloudMetadata": {"blockWithIptables": ANY},
    },
    "cull": {"enabled": ANY, "timeout": ANY, "every": ANY},
}  # fmt: skip


def read(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def unknown(values: Mapping[str, Any], known: Mapping[str, Any], where: str = "") -> Iterator[str]:
    for key, value in values.items():
        if key not in known:
            yield f"{where}{key}"
        elif known[key] is not ANY:
            yield from unknown(value, known[key], f"{where}{key}.")


@pytest.mark.parametrize("path", sorted(KUBERNETES.glob("*.yaml")), ids=lambda path: path.name)
def test_what_never_ran_says_so(path: Path) -> None:
    assert "# Not run here: there was no cluster." in path.read_text()


@pytest.mark.parametrize(
    "manifest", [one for path in MANIFESTS for one in read(path)], ids=lambda one: one["metadata"]["name"]
)
def test_manifests_follow_the_schemas_of_kubernetes(manifest: dict[str, Any]) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    version = validate.latest_version()
    validate.validate(manifest, version, strict=True)
    with pytest.raises(validate.ValidationError):
        validate.validate({**manifest, "spce": {}}, version, strict=True)


def test_nobody_reaches_a_pod_unless_allowed() -> None:
    policies = [one for path in MANIFESTS for one in read(path) if one["kind"] == "NetworkPolicy"]
    closed = [one for one in policies if one["spec"]["podSelector"] == {} and "ingress" not in one["spec"]]
    assert len(closed) == 1
    for policy in policies:
        assert policy["metadata"]["namespace"] == "portico"
        for rule in policy["spec"].get("ingress", []):
            assert rule["from"], policy["metadata"]["name"]  # an empty one would admit everybody
            assert all("podSelector" in peer for peer in rule["from"])


@pytest.mark.parametrize(("name", "known"), [("dask-gateway", GATEWAY), ("jupyterhub", HUB)])
def test_values_have_keys_of_the_charts(name: str, known: dict[str, Any]) -> None:
    (values,) = read(KUBERNETES / f"{name}.yaml")
    assert list(unknown(values, known)) == []


def test_hub_and_gateway_agree() -> None:
    (hub,), (gateway,) = read(KUBERNETES / "jupyterhub.yaml"), read(KUBERNETES / "dask-gateway.yaml")
    assert hub["singleuser"]["image"] == gateway["gateway"]["backend"]["image"]  # notebook and workers: one image
    (service,) = hub["hub"]["services"]
    assert gateway["gateway"]["prefix"] == f"/services/{service}"
    assert hub["singleuser"]["extraEnv"]["DASK_GATEWAY__ADDRESS"].endswith(gateway["gateway"]["prefix"])
    assert gateway["gateway"]["auth"]["jupyterhub"]["apiTokenFromSecretKey"] == f"hub.services.{service}.apiToken"
    locked = dict(re.findall(r"^([\w-]+)==(\S+)$", (REPOSITORY / "requirements-lock.txt").read_text(), re.MULTILINE))
    assert f"--version {locked['dask-gateway-server']} " in (KUBERNETES / "dask-gateway.yaml").read_text()


def test_the_configuration_of_the_gateway_runs_with_its_own_classes() -> None:
    pytest.importorskip("dask_gateway_server")
    from dask_gateway_server.backends.kubernetes.backend import KubeClusterConfig
    from traitlets.config import Config

    (values,) = read(KUBERNETES / "dask-gateway.yaml")
    config = Config()
    for code in values["gateway"]["extraConfig"].values():
        exec(code, {"c": config})
    assert set(config.KubeClusterConfig) <= set(KubeClusterConfig.class_trait_names(config=True))
    options = config.Backend.cluster_options(None)
    asked = options.get_configuration(options.parse_options({"worker_memory": 2.5, "environment": {"A": "b"}}), None)
    assert asked["worker_memory"] == 2.5 * 2**30
    cluster = KubeClusterConfig(**{name: config.KubeClusterConfig[name] for name in config.KubeClusterConfig}, **asked)
    assert (cluster.worker_cores, cluster.worker_memory, cluster.environment) == (1, 2.5 * 2**30, {"A": "b"})
    with pytest.raises(ValueError, match="Unknown fields"):
        options.parse_options({"wrker_cores": 1})
    with pytest.raises(ValueError, match="16"):
        options.parse_options({"worker_memory": 100})


APPTAINER = REPOSITORY / "deploy" / "apptainer" / "portico.def"
DOCKER = REPOSITORY / "deploy" / "docker" / "Dockerfile"


def section(name: str) -> list[str]:
    """Return the lines of a section of Apptainer's definition."""
    found = re.search(rf"^%{name}\n((?:[ ]{{4}}.*\n)+)", APPTAINER.read_text(), re.MULTILINE)
    assert found is not None
    lines = (line.strip() for line in found[1].splitlines())
    return [line for line in lines if not line.startswith("#")]


def test_both_images_are_filled_by_the_same_script_with_the_same_files() -> None:
    copied = dict(line.split() for line in section("files"))
    assert copied == {source: f"/opt/source/{source}" for source in copied}
    assert all((REPOSITORY / source).exists() for source in copied)
    ignored = DOCKER.with_name("Dockerfile.dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied)
    assert "*" in ignored
    script = "deploy/image/install.sh"
    assert f"sh /opt/source/{script} /opt/source" in " ".join(section("post"))
    assert f"sh /opt/source/{script} /opt/source" in DOCKER.read_text()
    assert any((REPOSITORY / script).is_relative_to(REPOSITORY / source) for source in copied)


def test_both_images_have_the_same_base_and_environment() -> None:
    docker = DOCKER.read_text()
    assert "# Not built here" in docker
    suite = dict(line.split("=", 1) for line in section("arguments"))["SUITE"]
    assert f"ARG SUITE={suite}\nFROM debian:${{SUITE}}-slim" in docker
    (given,) = re.findall(r"^ENV (.+)$", docker, re.MULTILINE)
    assert given.split() == [line.removeprefix("export ") for line in section("environment")]
    prefix = re.search(r"^prefix=(\S+)", (REPOSITORY / "deploy" / "image" / "install.sh").read_text(), re.MULTILINE)
    assert prefix is not None
    assert given.startswith(f"PATH={prefix[1]}/bin:")
    # The user and the home of notebooks on Kubernetes.
    (hub,) = read(KUBERNETES / "jupyterhub.yaml")
    assert f"--uid {hub['singleuser']['uid']} " in docker
    assert f"WORKDIR {hub['singleuser']['storage']['homeMountPath']}" in docker


def test_all_that_an_image_installs_is_an_extra_of_the_project() -> None:
    script = (REPOSITORY / "deploy" / "image" / "install.sh").read_text()
    (extras,) = re.findall(r"^extras=(\S+)$", script, re.MULTILINE)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
